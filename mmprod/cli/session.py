"""What every command shares: its options, the lake it works on, and how it shows what it did."""

import datetime
import json as json_module
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from mmprod.config import Loaded
    from mmprod.datasets.store.store import Store
    from mmprod.stages.outcome import Outcome, Watch

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Configuration file; mmprod.toml here if there is one.")
]
LakeOption = Annotated[Path | None, typer.Option("--lake", help="The folder that holds all state.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines: one object on stdout.")]
_WIDTH = 150  # columns, where no terminal says how many it has
FromOption = Annotated[
    str | None, typer.Option("--from", help="Only where this generation is in use; else nothing is done.")
]
DayOption = Annotated[
    datetime.datetime, typer.Option("--day", formats=["%Y-%m-%d"], help="The day the table speaks of.")
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait while another run writes to the lake.")]


class Session:
    """A command's configuration and lake, and its voice."""

    def __init__(
        self, config: Path | None, lake: Path | None, json: bool, overrides: dict[str, Any] | None = None
    ) -> None:
        from mmprod.config import load
        from mmprod.datasets.threads import limit
        from mmprod.lake import Lake

        self.json = json
        self.loaded: Loaded = load(config, {**(overrides or {}), "lake": str(lake) if lake else None})
        self.config = self.loaded.config
        limit(self.config.thread_count)  # before the libraries are loaded: most read it then
        self.lake: Lake = Lake(self.config.lake)
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")

    @contextmanager
    def store(self, read_only: bool = True) -> Iterator["Store"]:
        """The product store, open while the block lasts."""
        from mmprod.stages.daily.ingest import open_store

        with open_store(self.lake, self.config, read_only) as store:
            yield store

    def show(self, content: Any, text: str | None = None) -> None:
        """Print `content` as JSON, or the `text` for people."""
        if self.json:
            typer.echo(json_module.dumps(content, ensure_ascii=False, default=str))
        elif text is not None:
            typer.echo(text)

    def table(self, title: str, headings: Sequence[str], rows: Sequence[Sequence[Any]], content: Any) -> None:
        """Print `content` as JSON, or rows as a table for people."""
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
        """Where tables for people are printed."""
        from rich.console import Console

        console = Console()
        return console if console.is_terminal else Console(width=_WIDTH)

    def outcomes(self, outcomes: Sequence["Outcome"], title: str = "") -> None:
        """Print what stages did."""
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
                _detail(o.detail),
            )
            for o in outcomes
        ]
        self.table(title, headings, rows, {"stages": [o.to_dict() for o in outcomes]})

    @contextmanager
    def watching(self) -> Iterator["Watch"]:
        """Somebody who looks on: bars on a terminal, else a line on stderr every ten seconds."""
        from mmprod.cli import progress

        if sys.stderr.isatty() and not self.json:
            with progress.bars() as watch:
                yield watch
        else:
            yield progress.lines(lambda text: typer.echo(text, err=True, nl=False))


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 1 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _detail(detail: dict[str, Any]) -> str:
    """What is particular to a stage: counts that are not zero, and names; fingerprints cut short."""
    counts = [f"{name} {count:,}" for name, count in detail.items() if isinstance(count, int) and count]
    names = [value for value in detail.values() if isinstance(value, str) and value]
    return " · ".join([*counts, *(name[:12] if len(name) == 64 else name for name in names)])
