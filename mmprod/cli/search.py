"""`mmprod search`: products that fit a text or a picture, and neighbours of a product."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmprod.cli.options import with_session
from mmprod.cli.session import Session

if TYPE_CHECKING:
    from mmprod.stages.search.search import Found


@with_session()
def search(
    session: Session,
    query: Annotated[
        list[str] | None, typer.Argument(help="Text to search for; several texts are combined.")
    ] = None,
    picture: Annotated[
        list[Path] | None, typer.Option("--picture", help="A picture file to search for; repeatable.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="A text that should not fit; repeatable.")
    ] = None,
    without_picture: Annotated[
        list[Path] | None, typer.Option("--without-picture", help="A picture that should not fit.")
    ] = None,
    product: Annotated[
        str | None, typer.Option("--product", help="Show the neighbours of this product id.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Default: selection for a text, same_item for a product.")
    ] = None,
    category: Annotated[
        str | None, typer.Option("--category", help='Only this category, e.g. "Home > Lighting".')
    ] = None,
    top: Annotated[int, typer.Option("--top", "-k", help="How many products.")] = 10,
    min_score: Annotated[
        str | None,
        typer.Option("--min-score", help="Lowest score shown; 'labels': the threshold that labels suggest."),
    ] = None,
    fold: Annotated[
        bool, typer.Option("--fold/--no-fold", help="Show near copies (one picture, one group) as one.")
    ] = True,
    rerank: Annotated[
        int, typer.Option("--rerank", min=0, help="Reorder this many first results by BLIP's matching score.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the list to an .xlsx, .csv, .parquet or .html (with pictures)."),
    ] = None,
) -> None:
    """Find products whose pictures fit a text, or the neighbours of a product.

    Examples: mmprod search "red dress" --top 20

    mmprod search 极简风客厅灯 --category "Home > Lighting" --out lamps.csv

    mmprod search --product D000123 --profile similar_item

    mmprod search mug --without red --min-score 0.3

    mmprod search --picture lamp.jpg "made of wood"

    mmprod search "red dress" --rerank 50
    """
    from mmprod.reader import Reader
    from mmprod.report.answer import write_answer
    from mmprod.stages.search.answer import Asked, answer
    from mmprod.stages.search.query import Query

    wanted = Query(query or (), picture or (), without or (), without_picture or ())
    profile = profile or ("selection" if product is None else "same_item")
    asked = Asked(wanted, product, profile, category, top, min_score, fold, rerank)
    with Reader(session.lake, session.config) as reader:
        found = answer(reader, asked)
        if out:
            write_answer(reader.store, asked.name, found, out)
    _show(session, asked.name, found, bool(rerank))
    if out:
        typer.echo(f"written to {out}", err=True)


def _show(session: Session, title: str, found: Sequence["Found"], matched: bool) -> None:
    match = ("match",) if matched else ()
    headings = ("", "score", "picture", "title", *match, "product", "", "", "category")
    rows: list[tuple[object, ...]] = []
    for f in found:
        scores = (f.score, f.image_score, f.text_score, *([f.match_score] if matched else []))
        more = f"+{f.more} more" if f.more else ""
        rows.append((f.rank, *scores, f.product_id, more, f.title[:60], f.category))
    session.table(title, headings, rows, {"results": [asdict(f) for f in found]})
