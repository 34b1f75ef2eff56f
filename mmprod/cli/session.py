"""Shared by all commands: the configuration, the lake, and printing of results."""

import json as json_module
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from mmprod.config import Loaded
    from mmprod.datasets.store.store import Store
    from mmprod.stages.outcome import Outcome, Progress

_WIDTH = 150  # columns, if stdout is not a terminal


class Session:
    """A command's configuration and lake, and the functions that print its results."""

    def __init__(self, file: Path | None, lake: Path | None, json: bool) -> None:
        self.file, self.json = file, json
        self._overrides: dict[str, Any] = {}
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        self.override({"lake": str(lake) if lake else None})

    def override(self, values: Mapping[str, Any]) -> None:
        """Override values of the configuration, by dotted key; None leaves a value as it is.

        Raises: InputError for a value out of range.
        """
        from mmprod.config import load
        from mmprod.datasets.threads import limit
        from mmprod.lake import Lake

        self._overrides |= {key: value for key, value in values.items() if value is not None}
        self.loaded: Loaded = load(self.file, self._overrides)
        self.config = self.loaded.config
        limit(self.config.thread_count)  # before the libraries are loaded, as most read the limit when loaded
        self.lake: Lake = Lake(self.config.lake)

    @contextmanager
    def store(self, read_only: bool = True, table: Path | None = None) -> Iterator["Store"]:
        """The product store, open within the `with` block. `table`: the one that a new store is for."""
        from mmprod.stages.store import open_store

        with open_store(self.lake, self.config, read_only, table) as store:
            yield store

    def show(self, content: Any, text: str | None = None) -> None:
        """Print `content` if JSON is wanted, otherwise `text`."""
        if self.json:
            typer.echo(json_module.dumps(content, ensure_ascii=False, default=str))
        elif text is not None:
            typer.echo(text)

    def table(self, title: str, headings: Sequence[str], rows: Sequence[Sequence[Any]], content: Any) -> None:
        """Print `content` if JSON is wanted, otherwise the rows as a table."""
        if self.json:
            self.show(content)
            return
        from rich.table import Table

        table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None)
        for position, heading in enumerate(headings):
            number = all(isinstance(row[position], int | float | None) for row in rows)
            table.add_column(heading, justify="right" if number and rows else "left", overflow="fold")
        for row in rows:
            table.add_row(*(_cell(cell) for cell in row))
        self.console().print(table)

    def console(self) -> "Console":
        """The rich console for tables."""
        from rich.console import Console

        console = Console()
        return console if console.is_terminal else Console(width=_WIDTH)

    def problems(self, problems: Sequence[str], well: str, more: Mapping[str, Any] | None = None) -> None:
        """Print the problems and exit with code 1; without problems, print the message `well`.

        `more`: further content of the JSON.
        """
        self.show({"problems": problems, **(more or {})}, "\n".join(problems) or well)
        if problems:
            raise typer.Exit(1)

    def removed(self, removed: Sequence[str]) -> None:
        """Print which generations were removed."""
        lines = (f"removed {name}" for name in removed)
        self.show({"removed": removed}, "\n".join(lines) or "nothing to remove")

    def outcomes(self, outcomes: Sequence["Outcome"], title: str = "") -> None:
        """Print the outcomes of stages."""
        headings = ("stage", "rows", "changed", "reused", "refused", "seconds", "rows/s", "")
        rows = [
            (
                o.stage,
                o.rows,
                o.changed,
                o.reused,
                o.refused,
                round(o.seconds, 2),
                round(o.rate),
                " · ".join(filter(None, (_detail(o.detail), o.waits))),
            )
            for o in outcomes
        ]
        self.table(title, headings, rows, {"stages": [o.to_dict() for o in outcomes]})

    @contextmanager
    def progress(self) -> Iterator["Progress"]:
        """Shows progress: bars on a terminal, otherwise a line on stderr every ten seconds."""
        from mmprod.cli.progress import bars, lines

        if sys.stderr.isatty() and not self.json:
            with bars() as progress:
                yield progress
        else:
            yield lines(lambda text: typer.echo(text, err=True, nl=False))


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 1 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _detail(detail: dict[str, Any]) -> str:
    """A stage's own details: counts that are not zero, and names; fingerprints are shortened."""
    counts = [f"{name} {count:,}" for name, count in detail.items() if isinstance(count, int) and count]
    names = [value for value in detail.values() if isinstance(value, str) and value]
    return " · ".join([*counts, *(name[:12] if len(name) == 64 else name for name in names)])
