"""The review loop: pairs out on a sheet, labels in from a file, figures over all labels so far."""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from mmprod import artifacts
from mmprod.datasets import parquet
from mmprod.datasets.errors import InputError, StateError
from mmprod.datasets.files import sha256_file
from mmprod.datasets.schemas import JUDGEMENT, METRIC, PAIR, category_path
from mmprod.datasets.store import Store
from mmprod.eval.judgements import decide
from mmprod.eval.labels import read_labels, write_rejected
from mmprod.eval.metrics import judged_metrics
from mmprod.eval.sample import sample_pairs
from mmprod.eval.sheet import write_sheet
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.index import read_recall
from mmprod.stages.outcome import Outcome, timed

PAIRS_FILE, SHEET_FILE = "pairs.parquet", "sheet.csv"
JUDGEMENTS_FILE, REJECTED_FILE = "judgements.parquet", "rejected.csv"
METRICS_FILE = "metrics.parquet"


def sample(lake: Lake, config: Config, store: Store) -> Outcome:
    """Draw pairs from the current recall table and write the sheet that asks about them."""
    review = config.review
    root = lake.reviews / "pairs"
    with timed("review sample") as outcome:
        inputs = {"recall": artifacts.reference(lake.recall(review.profile)), "profile": review.profile}
        options = review.model_dump(mode="json")
        if name := artifacts.reusable(root, inputs, options):
            outcome.reused = outcome.rows = artifacts.Manifest.read(root / name).counts["pairs"]
            outcome.detail = {"sheet": str(root / name / SHEET_FILE)}
            return outcome
        pairs = sample_pairs(
            read_recall(lake, review.profile).to_batches(),
            lambda ids: [category_path(r.category) if r else "" for r in store.get_many(ids)],
            review.anchors_per_category,
            review.per_anchor,
            review.seed,
            review.level,
        )
        with artifacts.publishing(root, "pairs", inputs, options) as draft:
            parquet.write(draft.path / PAIRS_FILE, pairs.to_batches(), PAIR)
            write_sheet(
                draft.path / SHEET_FILE,
                pairs,
                lambda ids: [r.title if r else "" for r in store.get_many(ids)],
            )
            draft.counts |= {"pairs": pairs.num_rows, "anchors": len(pairs["anchor_id"].unique())}
        artifacts.switch(root, draft.generation)
        outcome.rows = outcome.changed = pairs.num_rows
        outcome.detail = {"sheet": str(root / draft.generation / SHEET_FILE), **draft.counts}
    return outcome


def collect(lake: Lake, store: Store, path: Path, reviewer: str = "") -> Outcome:
    """Take a filled-in sheet in: judgements, the rejected rows with their reasons, and the file itself.

    The same file again changes nothing. Raises InputError for a file that can't be used as a whole.
    """
    root = lake.reviews / "judgements"
    if not path.is_file():
        raise InputError(f"there is no label file {path}")
    with timed("review collect") as outcome:
        inputs = {"file": sha256_file(path), "reviewer": reviewer}
        for name in artifacts.generations(root):
            if artifacts.Manifest.read(root / name).inputs == inputs:
                outcome.reused = outcome.rows = artifacts.Manifest.read(root / name).counts["rows"]
                return outcome
        labels = read_labels(path, _still_live(_ever_asked(lake), store), datetime.now(UTC), reviewer)
        with artifacts.publishing(root, "judgements", inputs, {}) as draft:
            parquet.write(draft.path / JUDGEMENTS_FILE, labels.judgements.to_batches(), JUDGEMENT)
            write_rejected(draft.path / REJECTED_FILE, labels)
            shutil.copyfile(path, draft.path / f"original{path.suffix}")
            draft.counts |= {
                "rows": labels.rows,
                "accepted": labels.judgements.num_rows,
                "rejected": len(labels.rejected),
                "unanswered": labels.unanswered,
                "duplicates": labels.duplicates,
                "swapped": labels.swapped,
                "blank": labels.blank,
            }
        artifacts.switch(root, draft.generation)
        outcome.rows, outcome.changed = labels.rows, labels.judgements.num_rows
        outcome.refused = len(labels.rejected)
        outcome.detail = {**draft.counts, "rejected_file": str(root / draft.generation / REJECTED_FILE)}
    return outcome


def evaluate(lake: Lake, config: Config) -> Outcome:
    """Figures over the current pairs from every judgement so far: precision, P@k and mAP@k by category."""
    root, depth = lake.evaluations, config.review.per_anchor
    with timed("evaluate") as outcome:
        batches = read_judgements(lake)
        judged = [str(name) for name in artifacts.generations(lake.reviews / "judgements")]
        inputs = {"pairs": artifacts.reference(lake.reviews / "pairs"), "judgements": judged}
        measures = [f"P@{depth}", f"AP@{depth}"]
        if name := artifacts.reusable(root, inputs, {"measures": measures}):
            outcome.reused = outcome.rows = artifacts.Manifest.read(root / name).counts["judgements"]
            return outcome
        decided = decide(batches)
        metrics = judged_metrics(read_pairs(lake), decided.same, measures, config.review.seed)
        with artifacts.publishing(root, "evaluation", inputs, {"measures": measures}) as draft:
            parquet.write(draft.path / METRICS_FILE, metrics.to_batches(), METRIC)
            draft.counts |= {"judgements": batches.num_rows, "unresolved": len(decided.unresolved)}
        artifacts.switch(root, draft.generation)
        outcome.rows = outcome.changed = batches.num_rows
        outcome.detail = {"generation": draft.generation, **draft.counts}
    return outcome


def read_pairs(lake: Lake) -> pa.Table:
    """The pairs that are being asked about, schema PAIR."""
    with artifacts.opened(lake.reviews / "pairs") as opened:
        return parquet.read(opened.path / PAIRS_FILE)


def _ever_asked(lake: Lake) -> pa.Table:
    """The pairs of every sheet so far, each once: a sheet may come back after a newer one went out."""
    root = lake.reviews / "pairs"
    pairs: dict[str, dict[str, object]] = {}
    for name in artifacts.generations(root):
        with artifacts.opened(root, name) as opened:
            pairs |= {row["pair_id"]: row for row in parquet.read(opened.path / PAIRS_FILE).to_pylist()}
    if not pairs:
        raise StateError("no pair was asked about yet; run `mmprod review sample` first")
    return pa.Table.from_pylist(list(pairs.values()), PAIR)


def read_judgements(lake: Lake) -> pa.Table:
    """All judgements of all label files so far, schema JUDGEMENT."""
    root = lake.reviews / "judgements"
    names = artifacts.generations(root)
    if not names:
        raise StateError("no labels yet: fill in a sheet and run `mmprod review collect FILE`")
    tables = []
    for name in names:
        with artifacts.opened(root, name) as opened:
            tables.append(parquet.read(opened.path / JUDGEMENTS_FILE))
    return pa.concat_tables(tables)


def verdicts(lake: Lake) -> Mapping[str, bool]:
    """What reviewers found so far, by pair_id; empty before the first label file."""
    if not artifacts.generations(lake.reviews / "judgements"):
        return {}
    return decide(read_judgements(lake)).same


def read_metrics(lake: Lake) -> pa.Table:
    """The figures of the latest evaluation, schema METRIC."""
    with artifacts.opened(lake.evaluations) as opened:
        return parquet.read(opened.path / METRICS_FILE)


def _still_live(pairs: pa.Table, store: Store) -> pa.Table:
    """Without the pairs of which a product has been removed: they are not asked about any more."""
    sides = [store.get_many(pairs[name].to_pylist()) for name in ("anchor_id", "product_id")]
    return pairs.filter(pa.array([bool(a and a.live and b and b.live) for a, b in zip(*sides, strict=True)]))
