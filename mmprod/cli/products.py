"""Commands that make tables for others: groups, vectors, what saved searches find."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.session import ConfigOption, JsonOption, LakeOption, Session, WaitOption
from mmprod.storage.errors import InputError


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
    from mmprod.stages.daily.groups import build_groups

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
    from mmprod.stages.daily.embed import read_embeddings
    from mmprod.stages.daily.groups import export_features

    with session.lake.writing(wait):
        outcome = export_features(session.lake, read_embeddings(session.lake, session.config))
    session.outcomes([outcome])


def searches(
    file: Annotated[
        Path, typer.Argument(help="The searches, one text a line; behind a tab the category to look in.")
    ],
    profile: Annotated[str, typer.Option("--profile", help="Whose index is asked.")] = "selection",
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Products a search.")] = 50,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Also write the finds to an .xlsx, .csv, .parquet or .html (pictures)."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option("--since", formats=["%Y-%m-%d"], help="Only what has been found since then, in --out."),
    ] = None,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Answer saved searches from the current index, as Parquet, and count the finds that are new.

    Examples: mmprod searches texts.txt --top 100

    mmprod searches texts.txt --out new.xlsx --since 2025-03-02
    """
    if since and not out:
        raise InputError(f"--since {since:%Y-%m-%d} narrows the list that --out writes: name one")
    session = Session(config, lake, json)
    session.config.profile(profile)
    from mmprod.stages.daily.index import encoder_of
    from mmprod.stages.encoder import load_query_encoder
    from mmprod.stages.search.saved import read_searches, rerun_searches

    wanted, today = read_searches(file, session.config.review.encoding), datetime.now(UTC).date()
    with session.lake.writing(wait):
        encoder = load_query_encoder(session.lake, session.config, encoder_of(session.lake, profile))
        outcome = rerun_searches(session.lake, encoder, wanted, profile, top, today)
        if out:
            _take_away(session, out, since.date() if since else None)
    session.outcomes([outcome])


def _take_away(session: Session, out: Path, since: date | None) -> None:
    from mmprod.stages.search.lists import write_list
    from mmprod.stages.search.saved import found_list

    with session.store() as store:
        found = found_list(session.lake, store, since)
        if out.suffix == ".html":
            from mmprod.report.found import found_page
            from mmprod.report.page import save

            save(found_page(store, found), out)
        else:
            write_list(found, out)
    typer.echo(f"{found.num_rows:,} products written to {out}", err=True)
