"""`mmprod pairs`: shows which pairs fine-tuning would train on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mmprod.cli.options import with_section, with_session
from mmprod.cli.session import Session
from mmprod.datasets.pairs.options import Quality


@with_session()
@with_section(Quality, "Rules")
def pairs(
    session: Session,
    out: Annotated[Path | None, typer.Option("--out", help="Write the pairs to this Parquet file.")] = None,
    rejected: Annotated[
        Path | None,
        typer.Option("--rejected", help="Write the rejected products, with reasons, to this Parquet file."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Write an HTML page with examples of each reason to this file."),
    ] = None,
    *,
    given: Mapping[str, Any],
) -> None:
    """Show which products fine-tuning would train on, and why the others are rejected.

    Changes nothing in the lake. The selection is configured in section pairs; check the report before you use
    the rules on your catalogue.

    Example: mmprod pairs --report pairs.html --out pairs.parquet
    """
    session.override({f"pairs.quality.{name}": bound for name, bound in given.items()})
    from mmprod.report.page import save
    from mmprod.report.pairs import pairs_page
    from mmprod.stages.training.pairs import select_pairs
    from mmprod.storage.files import replace_file
    from mmprod.storage.parquet import to_bytes

    with session.store() as store, session.progress() as progress:
        selected = select_pairs(session.lake, session.config, store, progress)
        for path, table in ((out, selected.pairs), (rejected, selected.rejected)):
            if path:
                replace_file(path, to_bytes(table))
        if report:
            save(pairs_page(store, session.config, selected), report)
    content = {"considered": selected.considered, **selected.splits, "rejected": selected.reasons}
    counts = [("kept", name, count) for name, count in selected.splits.items()]
    counts += [("rejected", name, count) for name, count in selected.reasons.items()]
    rows = [(*row, f"{row[2] / max(1, selected.considered):.2%}") for row in counts]
    session.table(f"{selected.considered:,} live products", ("", "", "products", ""), rows, content)
