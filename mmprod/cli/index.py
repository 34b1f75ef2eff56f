"""`mmprod index`: builds the indexes that search reads, and switches between their generations."""

from typing import Annotated

import typer

from mmprod.cli import generations
from mmprod.cli.moved import Noun
from mmprod.cli.options import EarlierArgument, FromOption, ProfileOption, WaitOption, with_session
from mmprod.cli.session import Session

app = typer.Typer(name="index", cls=Noun, help="Embedding table → a fused Faiss index per profile.")


@app.command()
@with_session()
def build(
    session: Session,
    profile: ProfileOption = None,
    hold: Annotated[
        bool, typer.Option("--hold", help="Only build and check; `mmprod index promote` puts it in use.")
    ] = False,
    wait: WaitOption = False,
) -> None:
    """Embedding table → a fused Faiss index per profile; a new one is put in use only if it passes its gate.

    Example: mmprod index build --profile selection
    """
    from mmprod.stages.daily.embed import read_embeddings
    from mmprod.stages.daily.index import build_indexes

    with session.lake.writing(wait), session.store() as store:
        table = read_embeddings(session.lake, session.config)
        names = [profile] if profile else list(session.config.profiles)
        outcomes = build_indexes(session.lake, session.config, store, table, names, hold)
    session.outcomes(outcomes)


@app.command()
@with_session()
def promote(
    session: Session,
    profile: Annotated[
        list[str] | None, typer.Option("--profile", help="Only this profile; repeatable; default: all.")
    ] = None,
    wait: WaitOption = False,
) -> None:
    """Put the latest built indexes in use, all together; none if one of them did not pass its gate.

    Example: mmprod index promote --profile same_item --profile similar_item
    """
    from mmprod.stages.daily.index import promote_indexes

    names = profile or list(session.config.profiles)
    for name in names:
        session.config.profile(name)
    with session.lake.writing(wait):
        outcome = promote_indexes(session.lake, names)
    session.outcomes([outcome])


@app.command()
@with_session()
def rollback(
    session: Session,
    profile: Annotated[str, typer.Option("--profile", help="The profile whose index is switched.")],
    generation: EarlierArgument = None,
    only_from: FromOption = None,
    wait: WaitOption = False,
) -> None:
    """Switch a profile's index back to an earlier generation, which is verified first.

    Afterwards rebuild the recall tables with `mmprod recall build` and the release with `mmprod release
    build`. If two people roll back at once, the second is refused.

    Examples: mmprod index rollback --profile same_item

    mmprod index rollback g000001 --profile same_item

    mmprod index rollback --profile same_item --from g000003
    """
    session.config.profile(profile)
    now = session.lake.go_back(session.lake.index(profile), generation, only_from, wait)
    session.show({"profile": profile, "generation": now}, f"{profile} is served by {now}")


generations.add(app, "index", profiled=True)
