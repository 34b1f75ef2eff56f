"""`mmprod sample-catalog`: renders a marketplace for trying out mmprod."""

from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.options import with_session
from mmprod.cli.session import Session

LISTINGS = 1.385  # products per item, on average


@with_session(config=False, lake=False)
def sample_catalog(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="Where to write it.")],
    products: Annotated[
        int, typer.Option("--products", min=84, help="Approximate number on day one.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same catalogue.")] = 7,
    spu: Annotated[
        bool, typer.Option("--spu", help="Add spu_id, which is equal for listings of one item, to train on.")
    ] = False,
) -> None:
    """Render a marketplace for trying out mmprod: three day tables, training pairs, queries and the truth.

    Example: mmprod sample-catalog shop --products 2000
    """
    from mmprod.demo.catalogue import render_catalogue

    render_catalogue(folder, round(products / LISTINGS), seed, spu=spu)
    files = sorted(path.name for path in folder.iterdir())
    session.show({"folder": str(folder), "files": files}, f"{folder}: {', '.join(files)}")
