"""Reviewers' answers: label files taken in, and what all of them together say."""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmprod import artifacts
from mmprod.datasets import parquet
from mmprod.datasets.errors import InputError, StateError
from mmprod.datasets.files import sha256_file
from mmprod.datasets.schemas import JUDGEMENT
from mmprod.datasets.store import Store
from mmprod.eval.labels import read_labels, write_rejected
from mmprod.eval.reviewers.verdicts import Verdicts, decide
from mmprod.lake import Lake
from mmprod.sections import Config, Review
from mmprod.stages.outcome import Outcome, timed
from mmprod.stages.review import inbox

JUDGEMENTS_FILE, REJECTED_FILE = "judgements.parquet", "rejected.csv"


def collect(lake: Lake, store: Store, path: Path, reviewer: str = "") -> Outcome:
    """Take a filled-in sheet in: judgements, the rejected rows with their reasons, and the file itself.

    The same file again changes nothing. Raises InputError for a file that can't be used as a whole.
    """
    root = lake.judgements
    if not path.is_file():
        raise InputError(f"there is no label file {path}")
    with timed(f"collect {path.name}") as outcome:
        inputs = {"file": sha256_file(path), "reviewer": reviewer}
        generation = _taken_before(root, inputs)
        known = generation is not None
        if generation is None:
            labels = read_labels(path, _still_live(ever_asked(lake), store), datetime.now(UTC), reviewer)
            with artifacts.publishing(root, "judgements", inputs, {"file": path.name}) as draft:
                parquet.write(draft.path / JUDGEMENTS_FILE, labels.judgements.to_batches(), JUDGEMENT)
                write_rejected(draft.path / REJECTED_FILE, labels)
                shutil.copyfile(path, draft.path / f"original{path.suffix}")
                draft.counts |= labels.counts
            artifacts.switch(root, draft.generation)
            generation = draft.generation
        counts = artifacts.Manifest.read(root / generation).counts
        outcome.rows, outcome.refused = counts["rows"], counts["rejected"]
        outcome.reused, outcome.changed = (counts["rows"], 0) if known else (0, counts["accepted"])
        outcome.made[str(root)] = generation
        outcome.detail = {**counts, "rejected_file": str(root / generation / REJECTED_FILE)}
    return outcome


def _taken_before(root: Path, inputs: dict[str, str]) -> str | None:
    """The generation that was made of the same file."""
    names = artifacts.generations(root)
    return next((name for name in names if artifacts.Manifest.read(root / name).inputs == inputs), None)


def collect_inbox(lake: Lake, config: Config, store: Store) -> list[Outcome]:
    """Take in every complete file of the inbox; what can't be used is given back there with the reason."""
    outcomes = []
    for file in inbox.take(lake.inbox, config.review.settle):
        try:
            outcome = collect(lake, store, file.path)
        except InputError as error:
            inbox.refuse(file, str(error))
            outcome = Outcome(f"collect {file.name}", refused=1, detail={"why": str(error)})
        else:
            inbox.finish(file, Path(outcome.detail["rejected_file"]) if outcome.refused else None)
        outcomes.append(outcome)
    return outcomes


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
