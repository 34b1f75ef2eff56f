"""Commands of the review loop: pairs out to reviewers, labels back in, who can be relied on."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmprod.cli.session import ConfigOption, JsonOption, LakeOption, Session, WaitOption
from mmprod.storage.errors import InputError

if TYPE_CHECKING:
    from mmprod.datasets.store.store import Store
    from mmprod.stages.outcome import Outcome, Watch

review = typer.Typer(no_args_is_help=True, help="Pairs out to reviewers, labels back in.")

ProfileOption = Annotated[str | None, typer.Option("--profile", help="Whose neighbours; same_item.")]
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


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.add_typer(review, name="review")


def session_of(
    config: Path | None, lake: Path | None, json: bool, profile: str | None, margin: float | None = None
) -> Session:
    """A session whose review section is as the options say."""
    given = {"profile": profile, "margin": margin}
    section = {name: value for name, value in given.items() if value is not None}
    return Session(config, lake, json, {"review": section} if section else None)


@review.command()
def plan(
    profile: ProfileOption = None,
    margin: MarginOption = None,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """How many anchors and pairs a sample takes by category, and how exact its figures will be.

    Nothing is asked yet.

    Example: mmprod review plan --margin 0.1
    """
    session = session_of(config, lake, json, profile, margin)
    from mmprod.stages.review.survey import plan_survey

    with session.store() as store:
        planned = plan_survey(session.lake, session.config, store)
    rows = [(*_counts(p), f"{100 * p.margin:.1f}") for p in (*planned.categories, planned.total)]
    content = {"categories": [vars(p) for p in planned.categories], "total": vars(planned.total)}
    session.table("plan", _PLAN, rows, content)


def _counts(planned: object) -> tuple[object, ...]:
    return tuple(getattr(planned, name) for name in ("category", "population", "anchors", "pairs"))


@review.command()
def sample(
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
        typer.Option("--searches", help="Ask about searches instead: a file of texts, one a line."),
    ] = None,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Draw anchors and pairs and write the sheets: CSV, Excel, and a page to label on without a server.

    Asked are only pairs that nobody has judged as they look now.

    Examples: mmprod review sample

    mmprod review sample --also similar_item --margin 0.05

    mmprod review sample --searches texts.txt
    """
    session = session_of(config, lake, json, profile, margin)
    with session.lake.reviewing(wait), session.store() as store, session.watching() as watch:
        if searches:
            outcome = _sample_searches(session, store, searches, watch)
        else:
            from mmprod.stages.review.survey import sample as sample_pairs

            outcome = sample_pairs(session.lake, session.config, store, also or (), watch)
    session.outcomes([outcome])
    if not json:
        typer.echo(
            "\n".join(outcome.detail["sheets"]) or "every pair is judged as it looks now: nothing to ask"
        )


def _sample_searches(session: Session, store: "Store", file: Path, watch: "Watch") -> "Outcome":
    from mmprod.stages.daily.index import encoder_of
    from mmprod.stages.encoder import load_query_encoder
    from mmprod.stages.review.searches import PROFILE, read_texts, sample_searches

    texts = read_texts(file, session.config.review.encoding)
    encoder = load_query_encoder(session.lake, session.config, encoder_of(session.lake, PROFILE))
    return sample_searches(session.lake, session.config, store, encoder, texts, watch)


@review.command()
def collect(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Filled-in sheets; without any, all files in the inbox.")
    ] = None,
    reviewer: Annotated[
        str, typer.Option("--reviewer", help="Who answered, where the sheet doesn't say.")
    ] = "",
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="Of text that isn't UTF-8, such as gb18030 or cp1252.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on looking into the inbox until interrupted.")
    ] = False,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Take filled-in sheets in; rows that can't be used come back in a file with their reasons.

    The inbox is LAKE/reviews/inbox: files dropped there are taken in once they are complete.

    Examples: mmprod review collect sheet-anna.csv --reviewer anna

    mmprod review collect

    mmprod review collect --watch
    """
    if files and watch:
        raise InputError("--watch looks into the inbox: name no files")
    session = Session(config, lake, json, {"review": {"encoding": encoding}} if encoding else None)
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


@review.command()
def reviewers(
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """How far reviewers agree, and who answers known and repeated pairs carelessly.

    Example: mmprod review reviewers
    """
    session = Session(config, lake, json)
    from dataclasses import asdict

    from mmprod.eval.reviewers.agreement import agreement
    from mmprod.eval.reviewers.quality import quality
    from mmprod.stages.review.judgements import counting, gold, read_judgements

    judgements = read_judgements(session.lake)
    found = agreement(counting(judgements, session.config.review))
    table = quality(judgements, gold(session.lake, session.config))
    rows = [tuple(row[name] for name in _QUALITY) for row in table.to_pylist()]
    session.table("reviewers", _QUALITY, rows, {"reviewers": table.to_pylist(), "agreement": asdict(found)})
    if not json:
        values = (
            f"{name} {'–' if value is None else round(value, 3)}" for name, value in asdict(found).items()
        )
        typer.echo(f"agreement: {' · '.join(values)}")


@review.command()
def conflicts(
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("conflicts.html"),
    survey: SurveyOption = None,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """A sheet of the pairs that reviewers disagree on, with what each said, for an adjudicator to decide.

    The answers of those named in review.adjudicators decide.

    Example: mmprod review conflicts --out conflicts.html
    """
    session = Session(config, lake, json)
    from mmprod.stages.review.conflicts import write_conflicts

    with session.store() as store:
        count = write_conflicts(session.lake, session.config, store, survey, out)
    text = f"{count} pairs to decide: {out}" if count else "reviewers agree on every pair: nothing to decide"
    session.show({"pairs": count, "sheet": str(out) if count else None}, text)
