"""`mmprod release`: releases of the online service."""

from typing import TYPE_CHECKING, Annotated

import typer

from mmprod.cli import generations
from mmprod.cli.moved import Noun
from mmprod.cli.options import EarlierArgument, FromOption, WaitOption, with_session
from mmprod.cli.session import Session

if TYPE_CHECKING:
    from mmprod.stages.outcome import Outcome

app = typer.Typer(
    name="release", cls=Noun, help="Engine + indexes + thresholds → a release for the online service."
)


@app.command()
@with_session()
def build(
    session: Session,
    export: Annotated[
        bool, typer.Option("--export", help="First export the encoder if its engine is missing.")
    ] = False,
    wait: WaitOption = False,
) -> None:
    """Combine engine, indexes and score thresholds into a release, test it, and put it in use.

    Example: mmprod release build --export
    """
    from mmprod.stages.online.release import make_release

    with session.lake.writing(wait):
        outcomes = [_exported(session)] if export else []
        outcomes.append(make_release(session.lake, session.config))
    session.outcomes(outcomes)


def _exported(session: Session) -> "Outcome":
    from mmprod.stages.training.export import export_served  # with torch

    return export_served(session.lake, session.config)


@app.command()
@with_session()
def rollback(
    session: Session,
    generation: EarlierArgument = None,
    only_from: FromOption = None,
    wait: WaitOption = False,
) -> None:
    """Switch back to an earlier release, which is verified first.

    A running online service loads it with `mmprod triton reload`. If two people roll back at once, the second
    is refused.

    Examples: mmprod release rollback

    mmprod release rollback --from g000003
    """
    now = session.lake.go_back(session.lake.releases, generation, only_from, wait)
    text = f"the release is {now}; `mmprod triton reload` lets a running service serve it"
    session.show({"generation": now}, text)


generations.add(app, "release")
