"""`mmprod features`: vectors and groups as a file for other systems."""

import typer

from mmprod.cli import generations
from mmprod.cli.moved import Noun
from mmprod.cli.options import WaitOption, with_session
from mmprod.cli.session import Session

app = typer.Typer(
    name="features", cls=Noun, help="Embedding table and groups → a Parquet file for other systems."
)


@app.command()
@with_session()
def build(session: Session, wait: WaitOption = False) -> None:
    """Write the vectors and group of every live product to one Parquet file, e.g. for ranking models.

    Example: mmprod features build
    """
    from mmprod.stages.daily.embed import read_embeddings
    from mmprod.stages.daily.groups import export_features

    with session.lake.writing(wait):
        outcome = export_features(session.lake, read_embeddings(session.lake, session.config))
    session.outcomes([outcome])


generations.add(app, "features")
