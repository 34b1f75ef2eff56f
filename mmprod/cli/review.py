"""`mmprod review`: samples pairs for reviewers, collects their labels, measures their reliability."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.options import WaitOption, with_session
from mmprod.cli.session import Session
from mmprod.storage.errors import InputError

app = typer.Typer(
    name="review", no_args_is_help=True, help="Send pairs to reviewers and collect their labels."
)

ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="Whose neighbours are reviewed; default: review.profile.")
]
MarginOption = Annotated[
    float | None,
    typer.Option("--margin", help="Wanted ± of each category's precision; 0.02 is 2 points."),
]
SurveyOption = Annotated[
    str | None, typer.Option("--survey", help='The profile that was sampled, or "search".')
]
_PLAN = ("category", "products", "anchors", "pairs", "± points")

_QUALITY = (
    *("reviewer", "answers", "same_share", "gold", "gold_right", "repeats", "repeats_alike", "with_others"),
    "note",
)


@app.command()
@with_session()
def plan(session: Session, profile: ProfileOption = None, margin: MarginOption = None) -> None:
    """Show how many anchors and pairs a sample would take by category, and how exact its figures would be.

    Writes nothing.

    Example: mmprod review plan --margin 0.1
    """
    session.override({"review.profile": profile, "review.margin": margin})
    from mmprod.stages.review.survey import plan_survey

    with session.store() as store:
        planned = plan_survey(session.lake, session.config, store)
    rows = [(*_counts(p), f"{100 * p.margin:.1f}") for p in (*planned.categories, planned.total)]
    content = {"categories": [vars(p) for p in planned.categories], "total": vars(planned.total)}
    session.table("plan", _PLAN, rows, content)


def _counts(planned: object) -> tuple[object, ...]:
    return tuple(getattr(planned, name) for name in ("category", "population", "anchors", "pairs"))


@app.command()
@with_session()
def sample(
    session: Session,
    profile: ProfileOption = None,
    margin: MarginOption = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            help="A system to compare with: a profile, PROFILE@GENERATION, NAME=recall.parquet.",
        ),
    ] = None,
    searches: Annotated[
        Path | None,
        typer.Option("--searches", help="Sample searches instead: a file of texts, one a line."),
    ] = None,
    wait: WaitOption = False,
) -> None:
    """Draw anchors and pairs and write the sheets: CSV, Excel, and an HTML page that works without a server.

    Pairs that somebody has already judged, with their current titles and pictures, are not asked again.

    Examples: mmprod review sample

    mmprod review sample --also similar_item --margin 0.05

    mmprod review sample --searches texts.txt
    """
    session.override({"review.profile": profile, "review.margin": margin})
    from mmprod.stages.review.draw import draw

    with session.lake.reviewing(wait), session.store() as store, session.progress() as progress:
        outcome = draw(session.lake, session.config, store, also or (), searches, progress)
    session.outcomes([outcome])
    if not session.json:
        typer.echo(
            "\n".join(outcome.detail["sheets"])
            or "every pair is judged already, as it looks now: nothing to ask"
        )


@app.command()
@with_session()
def collect(
    session: Session,
    files: Annotated[
        list[Path] | None, typer.Argument(help="Filled-in sheets; without any, all files in the inbox.")
    ] = None,
    reviewer: Annotated[
        str, typer.Option("--reviewer", help="The reviewer, for sheets without a reviewer column.")
    ] = "",
    encoding: Annotated[
        str | None,
        typer.Option("--encoding", help="Encoding of text that isn't UTF-8, e.g. gb18030 or cp1252."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep watching the inbox until interrupted.")
    ] = False,
    wait: WaitOption = False,
) -> None:
    """Read filled-in sheets; unusable rows are written to a file with their reasons.

    The inbox is LAKE/reviews/inbox: files dropped there are read once they are complete.

    Examples: mmprod review collect sheet-anna.csv --reviewer anna

    mmprod review collect

    mmprod review collect --watch
    """
    if files and watch:
        raise InputError("--watch looks into the inbox: name no files")
    session.override({"review.encoding": encoding})
    from mmprod.stages.review.inbox import arrivals
    from mmprod.stages.review.judgements import collect as collect_file
    from mmprod.stages.review.judgements import collect_inbox

    for _ in arrivals(session.lake.inbox) if watch else (None,):
        with session.lake.reviewing(wait or watch), session.store() as store:
            if files:
                take = partial(collect_file, session.lake, session.config, store, reviewer=reviewer)
                outcomes = [take(file) for file in files]
            else:
                outcomes = collect_inbox(session.lake, session.config, store)
        if outcomes or not watch:
            session.outcomes(outcomes)


@app.command()
@with_session()
def reviewers(session: Session) -> None:
    """Show how far reviewers agree, and who answers gold and repeated pairs carelessly.

    Example: mmprod review reviewers
    """
    from mmprod.eval.reviewers.agreement import agreement
    from mmprod.eval.reviewers.quality import quality
    from mmprod.stages.review.judgements import counting, gold, read_judgements

    judgements = read_judgements(session.lake)
    found = agreement(counting(judgements, session.config.review))
    table = quality(judgements, gold(session.lake, session.config))
    rows = [tuple(row[name] for name in _QUALITY) for row in table.to_pylist()]
    session.table("reviewers", _QUALITY, rows, {"reviewers": table.to_pylist(), "agreement": asdict(found)})
    if not session.json:
        values = (
            f"{name} {'–' if value is None else round(value, 3)}" for name, value in asdict(found).items()
        )
        typer.echo(f"agreement: {' · '.join(values)}")


@app.command()
@with_session()
def conflicts(
    session: Session,
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("conflicts.html"),
    survey: SurveyOption = None,
) -> None:
    """Write a sheet of the pairs that reviewers disagree on, with each reviewer's answer, for an adjudicator.

    The answers of the reviewers named in review.adjudicators decide.

    Example: mmprod review conflicts --out conflicts.html
    """
    from mmprod.stages.review.conflicts import write_conflicts

    with session.store() as store:
        count = write_conflicts(session.lake, session.config, store, survey, out)
    text = f"{count} pairs to decide: {out}" if count else "reviewers agree on every pair: nothing to decide"
    session.show({"pairs": count, "sheet": str(out) if count else None}, text)
