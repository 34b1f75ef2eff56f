"""`mmprod bench`: measures what this machine can do with the lake's own products."""

from typing import Annotated

import typer

from mmprod.cli.options import with_session
from mmprod.cli.session import Session

app = typer.Typer(name="bench", no_args_is_help=True, help="Measure this machine with your own products.")


@app.callback()
def bench() -> None:
    """Keeps `embed` a command of its own."""


@app.command()
@with_session()
def embed(
    session: Session,
    products: Annotated[int, typer.Option("--products", min=1, help="Products of the sample.")] = 2000,
) -> None:
    """Embed a sample of the store's products, and show the rate and what limits it. Nothing is written.

    Decoding and towers are measured together, as in a run, and each alone. With a GPU, the share in which
    the towers are busy tells whether more decoding processes would help.

    Examples: mmprod bench embed

    mmprod bench embed --products 10000 --json
    """
    from mmprod.stages.backend import embedding_encoder
    from mmprod.stages.daily.embed_speed import measure_speed
    from mmprod.stages.store import open_store

    with open_store(session.lake, session.config) as store:
        encoder = embedding_encoder(session.lake, session.config, None)
        speed = measure_speed(session.config, store, encoder, products)
    counts = f"{speed.pictures:,} pictures and {speed.titles:,} titles"
    told = f"{counts}, by {speed.backend} on {speed.device}, {speed.threads} threads"
    rows = [
        ("end to end", speed.whole, f"towers busy {speed.busy:.0%} of the time"),
        ("reading and decoding alone", speed.decoding, ""),
        ("towers alone", speed.towers, ""),
    ]
    session.table(told, ("", "products/s", ""), rows, speed.to_dict())
    if not session.json:
        typer.echo(f"limited by {speed.limit}")
