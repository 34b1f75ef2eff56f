"""Reviewers' answers: collecting label files, and the verdicts of all of them together."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.schemas import JUDGEMENT
from mmprod.datasets.store.store import Store
from mmprod.datasets.tables.private_copy import ChangedError, private_copy
from mmprod.eval.labels import MAX_BYTES, read_copy, write_rejected
from mmprod.eval.reviewers.verdicts import Verdicts, decide
from mmprod.lake import Lake
from mmprod.sections import Config, Review
from mmprod.stages.outcome import Outcome, timed
from mmprod.stages.review import inbox
from mmprod.storage import artifacts, parquet
from mmprod.storage.errors import InputError, StateError

logger = logging.getLogger(__name__)

JUDGEMENTS_FILE, REJECTED_FILE = "judgements.parquet", "rejected.csv"


def collect(lake: Lake, config: Config, store: Store, path: Path, reviewer: str = "") -> Outcome:
    """Collect a filled-in sheet: publish its judgements, its rejected rows with reasons, and the file itself.

    The file is copied once and read from the copy. The configuration determines which reviewers are accepted,
    and the encoding of text that isn't UTF-8. Collecting the same file again changes nothing.
    Raises: InputError for a file that is unusable as a whole; ChangedError for one that changes while read.
    """
    root, encoding, reviewers = lake.judgements, config.review.encoding, _known(config.review)
    with timed(f"collect {path.name}") as outcome, private_copy(path, MAX_BYTES) as file:
        inputs = {"file": file.sha256, "reviewer": reviewer, **_options(encoding, reviewers)}
        generation = _taken_before(root, inputs)
        known = generation is not None
        if generation is None:
            asked = _still_live(ever_asked(lake), store)
            labels = read_copy(
                file, asked, _handed_in(root), reviewer, encoding=encoding, reviewers=reviewers
            )
            with artifacts.publishing(root, "judgements", inputs, {"file": path.name}) as draft:
                parquet.write(draft.path / JUDGEMENTS_FILE, labels.judgements.to_batches(), JUDGEMENT)
                write_rejected(draft.path / REJECTED_FILE, labels)
                shutil.copyfile(file.path, draft.path / f"original{path.suffix}")
                draft.counts |= labels.counts
            artifacts.switch(root, draft.generation)
            generation = draft.generation
        counts = artifacts.Manifest.read(root / generation).counts
        outcome.rows, outcome.refused = counts["rows"], counts["rejected"]
        outcome.reused, outcome.changed = (counts["rows"], 0) if known else (0, counts["accepted"])
        outcome.made[str(root)] = generation
        outcome.detail = {**counts, "rejected_file": str(root / generation / REJECTED_FILE)}
    return outcome


def _known(review: Review) -> tuple[str, ...]:
    """The accepted reviewers, including adjudicators and excluded ones; empty if anybody may answer."""
    return (*review.reviewers, *review.adjudicators, *review.excluded) if review.reviewers else ()


def _options(encoding: str | None, reviewers: Sequence[str]) -> dict[str, str]:
    """Options that affect how a file is read; with other options it counts as another file."""
    given = {"encoding": encoding or "", "reviewers": "\n".join(sorted(set(reviewers)))}
    return {name: value for name, value in given.items() if value}


def _handed_in(root: Path) -> datetime:
    """The current time, but not before the latest earlier answer, so that corrections win at any clock."""
    now = datetime.now(UTC)
    for name in reversed(artifacts.generations(root)):
        with artifacts.opened(root, name) as opened:
            times = parquet.read(opened.path / JUDGEMENTS_FILE)["judged_at"]
        if len(times):
            last: datetime = pc.max(times).as_py()
            return max(now, last)
    return now


def _taken_before(root: Path, inputs: dict[str, str]) -> str | None:
    """The generation made from the same file, if any."""
    names = artifacts.generations(root)
    return next((name for name in names if artifacts.Manifest.read(root / name).inputs == inputs), None)


def collect_inbox(lake: Lake, config: Config, store: Store) -> list[Outcome]:
    """Collect every complete file of the inbox; unusable files and rows are returned with the reason.

    A file that changes while it is read is read again the next time. A file on which reading crashes is
    retried once, then refused. Neither blocks the others.
    """
    files = inbox.take(lake.inbox, config.review.stable_seconds)
    return [_collect_from(file, lake, config, store) for file in files]


def _collect_from(file: inbox.Taken, lake: Lake, config: Config, store: Store) -> Outcome:
    try:
        outcome = collect(lake, config, store, file.path)
        rejected = Path(outcome.detail["rejected_file"]) if outcome.refused else None
        made = artifacts.Manifest.read(lake.judgements / outcome.made[str(lake.judgements)])
        inbox.finish(file, rejected, made.inputs["file"])
    except ChangedError as changed:
        why = f"{changed}: it is read again the next time"
    except InputError as refused:
        why = str(refused)
        inbox.refuse(file, why)
    except (StateError, OSError):
        raise  # a fault of the lake or the machine, not of the file
    except Exception as error:
        logger.exception("%s could not be read", file.path)
        why = f"reading it failed ({type(error).__name__}: {error})"
        inbox.fail(file, why)
    else:
        return outcome
    return Outcome(f"collect {file.name}", refused=1, detail={"why": why})


def ever_asked(lake: Lake) -> pa.Table:
    """The questions of all sheets so far (QUESTION), without duplicates: a sheet may come back late."""
    tables = []
    for root in sorted(lake.surveys.glob("*")):
        for name in artifacts.generations(root):
            with artifacts.opened(root, name) as opened:
                tables.append(parquet.read(opened.path / "questions.parquet"))
    if not tables:
        raise StateError("no pair was asked about yet; run `mmprod review sample` first")
    questions = pa.concat_tables(tables)
    numbered = questions.append_column("row", pa.array(range(questions.num_rows)))
    last = numbered.group_by("question_id").aggregate([("row", "max")])["row_max"]
    return questions.take(last.sort())


def _still_live(questions: pa.Table, store: Store) -> pa.Table:
    """The questions without those about removed products."""
    gone: set[str] = set()
    for column in ("anchor_id", "product_id"):
        ids = questions[column].unique().to_pylist()
        gone |= {
            id_ for id_, record in zip(ids, store.get_many(ids), strict=True) if record and not record.live
        }
    removed = pa.array(sorted(gone), pa.string())
    kept = [pc.invert(pc.is_in(questions[c], value_set=removed)) for c in ("anchor_id", "product_id")]
    return questions.filter(pc.and_(*kept))


def read_judgements(lake: Lake) -> pa.Table:
    """All judgements of all label files so far, schema JUDGEMENT. Raises: StateError if there are none."""
    root = lake.judgements
    names = artifacts.generations(root)
    if not names:
        raise StateError("no labels yet: fill in a sheet and run `mmprod review collect FILE`")
    tables = []
    for name in names:
        with artifacts.opened(root, name) as opened:
            tables.append(parquet.read(opened.path / JUDGEMENTS_FILE))
    return pa.concat_tables(tables)


def counting(judgements: pa.Table, review: Review) -> pa.Table:
    """The judgements of reviewers that aren't excluded."""
    out = pc.is_in(judgements["reviewer"], value_set=pa.array(review.excluded, pa.string()))
    return judgements.filter(pc.invert(out))


def decided(lake: Lake, config: Config) -> Verdicts:
    """The verdicts of all answers that count, by the configured policy."""
    review = config.review
    return decide(counting(read_judgements(lake), review), review.policy, review.adjudicators)


def verdicts(lake: Lake, config: Config) -> Mapping[str, bool]:
    """The verdicts so far by pair_id (true: same); empty before the first label file."""
    return decided(lake, config).same if artifacts.generations(lake.judgements) else {}


def gold(lake: Lake, config: Config) -> Mapping[str, bool]:
    """The gold answers, decided by adjudicators, by pair_id; used to check other reviewers."""
    if not artifacts.generations(lake.judgements):
        return {}
    judgements = read_judgements(lake)
    theirs = pc.is_in(judgements["reviewer"], value_set=pa.array(config.review.adjudicators, pa.string()))
    return decide(judgements.filter(theirs)).same
