"""Commands that make tables for others: groups, vectors, what saved searches find."""

from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.session import ConfigOption, JsonOption, LakeOption, Session, WaitOption


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    for command in (groups, features, searches):
        app.command()(command)


def groups(
    wait: WaitOption = False, config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False
) -> None:
    """Recall table → groups of products that are the same item, as Parquet.

    Example: mmprod groups
    """
    session = Session(config, lake, json)
    from mmprod.stages.groups import build_groups

    with session.lake.writing(wait):
        outcome = build_groups(session.lake, session.config)
    session.outcomes([outcome])


def features(
    wait: WaitOption = False, config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False
) -> None:
    """Write every live product's vectors and group as one Parquet file, for ranking models and others.

    Example: mmprod features
    """
    session = Session(config, lake, json)
    from mmprod.stages.embed import open_embeddings
    from mmprod.stages.encoder import load_encoder
    from mmprod.stages.groups import export_features

    with session.lake.writing(wait):
        encoder = load_encoder(session.lake, session.config)
        table = open_embeddings(session.lake, session.config, encoder)
        outcome = export_features(session.lake, table)
    session.outcomes([outcome])


def searches(
    file: Annotated[Path, typer.Argument(help="The searches, one text a line.")],
    profile: Annotated[str, typer.Option("--profile", help="Whose index is asked.")] = "selection",
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Products a search.")] = 50,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Answer saved searches from the current index, as Parquet, and count the finds that are new.

    Example: mmprod searches texts.txt --top 100
    """
    session = Session(config, lake, json)
    session.config.profile(profile)
    from mmprod.stages.encoder import load_encoder
    from mmprod.stages.index import encoder_of
    from mmprod.stages.review.searches import read_texts
    from mmprod.stages.searches import rerun_searches

    texts = list(read_texts(file))
    with session.lake.writing(wait):
        encoder = load_encoder(session.lake, session.config, encoder_of(session.lake, profile))
        outcome = rerun_searches(session.lake, encoder, texts, profile, top)
    session.outcomes([outcome])
