"""`mmprod report`: an HTML page about a lake."""

from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.options import with_session
from mmprod.cli.session import Session


@with_session()
def report(
    session: Session,
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write.")] = Path("report.html"),
    query: Annotated[
        list[str] | None, typer.Option("--query", help="A text to search for; repeatable.")
    ] = None,
    anchor: Annotated[list[str] | None, typer.Option("--anchor", help="A product id; repeatable.")] = None,
) -> None:
    """Write one self-contained HTML page: searches, neighbours with pictures, accuracy by category.

    Example: mmprod report --query "red dress" --anchor D000123 --out report.html
    """
    from mmprod.report.lake import Shown, lake_page
    from mmprod.report.page import save
    from mmprod.stages.encoder import load_query_encoder
    from mmprod.stages.open_index import encoder_of

    with session.store() as store:
        encoder = load_query_encoder(session.lake, session.config, encoder_of(session.lake, "selection"))
        shown = Shown(query or (), anchor or ())
        save(lake_page(session.lake, session.config, store, encoder, shown), out)
    session.show({"report": str(out)}, f"report: {out}")
