"""Commands that answer questions from the current index."""

from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.session import ConfigOption, JsonOption, LakeOption, Session
from mmprod.datasets.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command()(search)


def search(
    query: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    product: Annotated[str | None, typer.Option("--product", help="Neighbours of this product id.")] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="selection for a text, same_item for a product.")
    ] = None,
    category: Annotated[
        str | None, typer.Option("--category", help='Only this category, e.g. "Home > Lighting".')
    ] = None,
    top: Annotated[int, typer.Option("--top", "-k", help="How many products.")] = 10,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the list to a .csv, .parquet or .html (with pictures)."),
    ] = None,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Find products whose pictures fit a text, or the neighbours of a product.

    Examples: mmprod search "red dress" --top 20

    mmprod search 极简风客厅灯 --category "Home > Lighting" --out lamps.csv

    mmprod search --product D000123 --profile similar_item
    """
    if (query is None) == (product is None):
        raise InputError('say what to look for: either a text, "red dress", or --product ID')
    session = Session(config, lake, json)
    profile = profile or ("selection" if product is None else "same_item")
    session.config.profile(profile)
    from dataclasses import asdict

    from mmprod.stages.search import search_product, search_text, write_list

    with session.store() as store:
        if product is not None:
            found = search_product(session.lake, store, product, profile, top, category)
        else:
            from mmprod.stages.encoder import load_encoder
            from mmprod.stages.index import encoder_of

            encoder = load_encoder(session.lake, session.config, encoder_of(session.lake, profile))
            found = search_text(session.lake, store, encoder, query or "", profile, top, category)
        if out and out.suffix == ".html":
            from mmprod.report.lake import search_page
            from mmprod.report.page import save

            save(search_page(store, query or f"like {product}", found), out)
        elif out:
            write_list(found, out)
    rows = [
        (f.rank, f.score, f.image_score, f.text_score, f.product_id, f.title[:60], f.category) for f in found
    ]
    headings = ("", "score", "picture", "title", "product", "", "category")
    session.table(query or f"like {product}", headings, rows, {"results": [asdict(f) for f in found]})
    if out:
        typer.echo(f"written to {out}", err=True)
