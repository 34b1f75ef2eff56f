"""`mmprod table`: checks product tables before they are ingested."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmprod.cli.options import with_session
from mmprod.cli.session import Session

if TYPE_CHECKING:
    from mmprod.stages.daily.table_check import TableReport

app = typer.Typer(name="table", no_args_is_help=True, help="Check product tables before they are ingested.")


@app.command()
@with_session(lake=False)
def check(
    session: Session,
    table: Annotated[
        Path, typer.Argument(help="Parquet or Arrow, a folder of it, CSV, TSV, XML, Delta Lake or Iceberg.")
    ],
    write: Annotated[
        Path | None, typer.Option("--write", help="Write the matching settings to this configuration file.")
    ] = None,
) -> None:
    """Show how a table is read: encoding, columns, first products, and which rows would be refused.

    If its columns don't fit the configuration, settings are proposed from the names of the columns. The lake
    is not changed. Exit code 2 if the table would be refused as a whole.

    Examples: mmprod table check products.csv

    mmprod table check feed.xml --write mmprod.toml
    """
    from mmprod.stages.daily.table_check import check_table, write_settings

    with session.progress() as progress:
        report = check_table(table, session.config.table_spec, session.config.images.root, progress)
    if write and not report.problem:
        write_settings(write, report.settings)
    if session.json:
        session.show(report.to_dict())
    else:
        _show(session, report, write)
    if report.problem:
        raise typer.Exit(2)


def _show(session: Session, report: "TableReport", written: Path | None) -> None:
    session.table(report.table, ("", ""), [(name, str(value)) for name, value in report.form.items()], None)
    origin = "as configured"
    if report.proposed:
        origin = (
            f"proposed for columns of {report.dialect}" if report.dialect else "proposed for such columns"
        )
    session.table(f"settings, {origin}", ("", ""), [(k, str(v)) for k, v in report.settings.items()], None)
    products = [tuple(str(value or "") for value in product.values()) for product in report.products]
    session.table("first products", ("id", "title", "category", "picture", "further"), products, None)
    counts = {
        "rows": report.rows,
        "usable": report.accepted,
        "gone by their words": report.gone,
        "parts of other rows": report.merged,
        "ids in several rows": report.repeated,
    }
    rows = [(name, f"{count:,}", "") for name, count in counts.items() if count]
    rows += [
        (f"refused: {reason}", f"{n:,}", report.first[reason]) for reason, n in report.reasons.most_common()
    ]
    rows += [(f"left out: {name}", f"{n:,}", report.first[name]) for name, n in report.unread.most_common()]
    session.table("rows", ("", "", "first"), rows, None)
    if report.problem:
        unwritten = f"; {written} was not written" if written else ""
        typer.echo(f"the table would be refused{unwritten}: {report.problem}")
    elif written:
        typer.echo(f"written: {written}")
