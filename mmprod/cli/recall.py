"""`mmprod recall`: tables of every product's nearest neighbours."""

import typer

from mmprod.cli import generations
from mmprod.cli.moved import Noun
from mmprod.cli.options import ProfileOption, WaitOption, with_session
from mmprod.cli.session import Session

app = typer.Typer(name="recall", cls=Noun, help="Index → recall tables: every product's nearest neighbours.")


@app.command()
@with_session()
def build(session: Session, profile: ProfileOption = None, wait: WaitOption = False) -> None:
    """Index → recall table: every product's nearest neighbours, as Parquet.

    Example: mmprod recall build --profile same_item
    """
    from mmprod.stages.daily.recall import build_recall

    names = [profile] if profile else session.config.recall.profiles
    with session.lake.writing(wait), session.progress() as progress:
        outcomes = [build_recall(session.lake, session.config, name, progress) for name in names]
    session.outcomes(outcomes)


generations.add(app, "recall", profiled=True)
