"""`mmprod demo` and `mmprod report`: the whole pipeline on a rendered marketplace, and pages to look at."""

from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.session import ConfigOption, JsonOption, LakeOption, Session

SAME_ITEM = ("found first", "recall@10", "mAP@10")
LISTINGS = 1.385  # products an item, on average


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command()(demo)
    app.command()(report)
    app.command("sample-catalog")(sample_catalog)


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where everything is made.")] = Path("demo"),
    items: Annotated[int, typer.Option("--items", min=60, help="Items of the marketplace.")] = 1500,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Training steps of the encoder; as many as fit into its time."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Render a marketplace, train a small encoder, run three days, review, evaluate and report.

    Example: mmprod demo --folder demo
    """
    session = Session(config, folder / "lake", json)
    from mmprod.demo.show import demonstrate
    from mmprod.encoders.train import Plan

    with session.lake.writing(), session.watching() as watch:
        shown = demonstrate(folder, session.config, items, Plan(steps=steps), watch)
    if json:
        content = {
            "stages": {
                heading: [o.to_dict() for o in outcomes] for heading, outcomes in shown.stages.items()
            },
            "same_item": [
                dict(zip(("weighting", *SAME_ITEM), r, strict=True)) for r in shown.weighting_rows()
            ],
            "search": [dict(zip(("search", "P@10"), row, strict=True)) for row in shown.search_rows()],
            "report": str(shown.report),
        }
        session.show(content)
        return
    for heading, outcomes in shown.stages.items():
        session.outcomes(outcomes, heading)
    headings = ("same item, listed twice", *SAME_ITEM)
    session.table("accuracy against the planted truth", headings, shown.weighting_rows(), None)
    session.table("", ("texts on a catalogue with stuffed titles", "P@10"), shown.search_rows(), None)
    typer.echo(f"\nreport: {shown.report}, {shown.evaluation}")
    typer.echo(f"try:    mmprod search 'red striped mug' --lake {folder / 'lake'}")
    typer.echo(f"serve:  make triton && mmprod triton start --lake {folder / 'lake'}")


def report(
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write.")] = Path("report.html"),
    query: Annotated[
        list[str] | None, typer.Option("--query", help="A text to search for; repeatable.")
    ] = None,
    anchor: Annotated[list[str] | None, typer.Option("--anchor", help="A product id; repeatable.")] = None,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """One self-contained HTML page: searches, neighbours with pictures, accuracy by category.

    Example: mmprod report --query "red dress" --anchor D000123 --out report.html
    """
    session = Session(config, lake, json)
    from mmprod.report.lake import Shown, lake_page
    from mmprod.report.page import save
    from mmprod.stages.daily.index import encoder_of
    from mmprod.stages.encoder import load_query_encoder

    with session.store() as store:
        encoder = load_query_encoder(session.lake, session.config, encoder_of(session.lake, "selection"))
        shown = Shown(query or (), anchor or ())
        save(lake_page(session.lake, session.config, store, encoder, shown), out)
    session.show({"report": str(out)}, f"report: {out}")


def sample_catalog(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")],
    products: Annotated[int, typer.Option("--products", min=84, help="About how many on day one.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same catalogue.")] = 7,
    spu: Annotated[
        bool, typer.Option("--spu", help="Tell by spu_id which listings are of one item, to train on.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Render a marketplace to try things on: three day tables, training pairs, queries and the truth.

    Example: mmprod sample-catalog shop --products 2000
    """
    session = Session(None, None, json)
    from mmprod.demo.catalogue import render_catalogue

    render_catalogue(folder, round(products / LISTINGS), seed, spu=spu)
    files = sorted(path.name for path in folder.iterdir())
    session.show({"folder": str(folder), "files": files}, f"{folder}: {', '.join(files)}")
