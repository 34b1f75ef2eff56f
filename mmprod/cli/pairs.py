"""The command that shows what fine-tuning would train on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mmprod.cli.options import with_section
from mmprod.cli.session import ConfigOption, JsonOption, LakeOption, Session
from mmprod.datasets.pairs.options import Quality


def register(app: typer.Typer) -> None:
    """Add the command of this file to the application."""
    app.command()(with_section(pairs, Quality, "Rules"))


def pairs(
    out: Annotated[Path | None, typer.Option("--out", help="Write the pairs to this Parquet file.")] = None,
    rejected: Annotated[
        Path | None, typer.Option("--rejected", help="Write the other products, with reasons, to Parquet.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write a page with examples of every reason to this file.")
    ] = None,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
    *,
    given: Mapping[str, Any],
) -> None:
    """Which products' pictures and titles would be trained on, and why not the others.

    Changes nothing in the lake. What to select stands in the configuration's section pairs; look at the
    report before you trust the rules with your catalogue.

    Example: mmprod pairs --report pairs.html --out pairs.parquet
    """
    overrides = {f"pairs.quality.{name}": bound for name, bound in given.items()}
    session = Session(config, lake, json, overrides)
    from mmprod.stages.training.pairs import select_pairs
    from mmprod.storage.files import replace_file
    from mmprod.storage.parquet import to_bytes

    with session.store() as store, session.watching() as watch:
        selected = select_pairs(session.lake, session.config, store, watch)
        for path, table in ((out, selected.pairs), (rejected, selected.rejected)):
            if path:
                replace_file(path, to_bytes(table))
        if report:
            from mmprod.report.page import save
            from mmprod.report.pairs import pairs_page

            save(pairs_page(store, session.config, selected), report)
    content = {"considered": selected.considered, **selected.splits, "rejected": selected.reasons}
    counts = [("kept", name, count) for name, count in selected.splits.items()]
    counts += [("rejected", name, count) for name, count in selected.reasons.items()]
    rows = [(*row, f"{row[2] / max(1, selected.considered):.2%}") for row in counts]
    session.table(f"{selected.considered:,} live products", ("", "", "products", ""), rows, content)
