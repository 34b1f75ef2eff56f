"""Reviewers' answers: label files taken in, and what all of them together say."""

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
    """Take a filled-in sheet in: judgements, the rejected rows with their reasons, and the file itself.

    It is copied once, and read from there. The configuration says who may have answered, and how text that
    isn't UTF-8 is encoded. The same file again changes nothing.
    Raises: InputError for a file that can't be used as a whole, ChangedError for one that changes meanwhile.
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
    """Who may answer: whoever gets a sheet, decides or is excluded by now; anybody where no one is named."""
    return (*review.reviewers, *review.adjudicators, *review.excluded) if review.reviewers else ()


def _options(encoding: str | None, reviewers: Sequence[str]) -> dict[str, str]:
    """What else decides how a file is read; with other options it is another file."""
    given = {"encoding": encoding or "", "reviewers": "\n".join(sorted(set(reviewers)))}
    return {name: value for name, value in given.items() if value}


def _handed_in(root: Path) -> datetime:
    """Now, but not before what was handed in earlier: a correction counts, however the clock was set."""
    now = datetime.now(UTC)
    for name in reversed(artifacts.generations(root)):
        with artifacts.opened(root, name) as opened:
            times = parquet.read(opened.path / JUDGEMENTS_FILE)["judged_at"]
        if len(times):
            last: datetime = pc.max(times).as_py()
            return max(now, last)
    return now


def _taken_before(root: Path, inputs: dict[str, str]) -> str | None:
    """The generation that was made of the same file."""
    names = artifacts.generations(root)
    return next((name for name in names if artifacts.Manifest.read(root / name).inputs == inputs), None)


def collect_inbox(lake: Lake, config: Config, store: Store) -> list[Outcome]:
    """Take in every complete file of the inbox; what can't be used is given back there with the reason.

    A file that changes meanwhile comes again the next time, as does one that fails for another reason than
    its own content; the second time this one is put aside, too. Neither holds up the others.
    """
    return [_collect_from(file, lake, config, store) for file in inbox.take(lake.inbox, config.review.settle)]


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
        raise  # of the lake or the machine
    except Exception as error:
        logger.exception("%s could not be read", file.path)
        why = f"reading it failed ({type(error).__name__}: {error})"
        inbox.fail(file, why)
    else:
        return outcome
    return Outcome(f"collect {file.name}", refused=1, detail={"why": why})


def ever_asked(lake: Lake) -> pa.Table:
    """The questions of every sheet so far (QUESTION), each once: a sheet may come back late."""
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
    """Without those of which a product has been removed: they are not asked about any more."""
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
    """All judgements of all label files so far, schema JUDGEMENT. Raises: StateError before the first."""
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
    """What all answers so far that count amount to, by the policy of the configuration."""
    review = config.review
    return decide(counting(read_judgements(lake), review), review.policy, review.adjudicators)


def verdicts(lake: Lake, config: Config) -> Mapping[str, bool]:
    """What reviewers found so far, by pair_id; empty before the first label file."""
    return decided(lake, config).same if artifacts.generations(lake.judgements) else {}


def gold(lake: Lake, config: Config) -> Mapping[str, bool]:
    """What adjudicators decided, by pair_id: answers that are known, to watch other reviewers by."""
    if not artifacts.generations(lake.judgements):
        return {}
    judgements = read_judgements(lake)
    theirs = pc.is_in(judgements["reviewer"], value_set=pa.array(config.review.adjudicators, pa.string()))
    return decide(judgements.filter(theirs)).same
