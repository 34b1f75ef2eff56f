"""`mmprod groups`: groups of products that are the same item."""

import typer

from mmprod.cli import generations
from mmprod.cli.moved import Noun
from mmprod.cli.options import WaitOption, with_session
from mmprod.cli.session import Session

app = typer.Typer(name="groups", cls=Noun, help="Recall table → groups of products that are the same item.")


@app.command()
@with_session()
def build(session: Session, wait: WaitOption = False) -> None:
    """Recall table → groups of products that are the same item, as Parquet.

    Example: mmprod groups build
    """
    from mmprod.stages.daily.groups import build_groups

    with session.lake.writing(wait):
        outcome = build_groups(session.lake, session.config)
    session.outcomes([outcome])


generations.add(app, "groups")
