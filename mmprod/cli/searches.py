"""`mmprod searches`: runs the saved searches of a file."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.moved import Noun
from mmprod.cli.options import WaitOption, with_session
from mmprod.cli.session import Session
from mmprod.storage.errors import InputError

app = typer.Typer(name="searches", cls=Noun, help="Saved searches on the current index.")


@app.command()
@with_session()
def run(
    session: Session,
    file: Annotated[
        Path, typer.Argument(help="The searches: one text a line, optionally a tab and a category.")
    ],
    profile: Annotated[
        str, typer.Option("--profile", help="The profile whose index is searched.")
    ] = "selection",
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Products per search.")] = 50,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Also write the results to an .xlsx, .csv, .parquet or .html (pictures)."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since", formats=["%Y-%m-%d"], help="In --out: only products first found on or after this day."
        ),
    ] = None,
    wait: WaitOption = False,
) -> None:
    """Run saved searches on the current index, store their results as Parquet and count the new ones.

    Examples: mmprod searches run texts.txt --top 100

    mmprod searches run texts.txt --out new.xlsx --since 2025-03-02
    """
    if since and not out:
        raise InputError(f"--since {since:%Y-%m-%d} restricts the list that --out writes: give --out, too")
    session.config.profile(profile)
    from mmprod.report.found import write_found
    from mmprod.stages.encoder import load_query_encoder
    from mmprod.stages.open_index import encoder_of
    from mmprod.stages.search.saved import read_searches, rerun_searches

    wanted, today = read_searches(file, session.config.review.encoding), datetime.now(UTC).date()
    with session.lake.writing(wait):
        encoder = load_query_encoder(session.lake, session.config, encoder_of(session.lake, profile))
        outcome = rerun_searches(session.lake, encoder, wanted, profile, top, today)
        if out:
            with session.store() as store:
                count = write_found(session.lake, store, out, since.date() if since else None)
            typer.echo(f"{count:,} products written to {out}", err=True)
    session.outcomes([outcome])
