"""Embedding table → fused vectors → Faiss generation → gate → CURRENT; and the recall table from that."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from mmprod import artifacts
from mmprod.datasets import parquet
from mmprod.datasets.errors import StateError
from mmprod.datasets.faults import fault
from mmprod.datasets.schemas import ITEM, RECALL, category_path
from mmprod.datasets.store import Store
from mmprod.datasets.vectors import from_column
from mmprod.embedding_table import EmbeddingTable
from mmprod.encoders.fusion import Weights, fuse, half_width
from mmprod.lake import Lake
from mmprod.retrieval import folder, index
from mmprod.retrieval.gate import GateReport, gate
from mmprod.retrieval.generation import Generation
from mmprod.retrieval.recall import neighbours
from mmprod.sections import Config
from mmprod.stages.outcome import Advance, Outcome, Watch, silent, timed

RECALL_FILE = "recall.parquet"
_BLOCK = 1024  # anchors searched at once


class FusedVectors:
    """The embedding table's live products as blocks of fused vectors; can be read any number of times.

    Products without any modality that the weights count are left out, here and in `items`.
    """

    def __init__(self, table: EmbeddingTable, weights: Weights, form: str = "exact") -> None:
        self.table, self.weights = table, weights
        self._fuse = fuse if form == "exact" else half_width

    def __iter__(self) -> Iterator[np.ndarray]:
        for batch, usable in self._batches():
            image, text = (from_column(batch[name])[0][usable] for name in ("image", "text"))
            yield self._fuse(image, text, self.weights)

    def items(self, store: Store) -> pa.Table:
        """Ids, categories and modalities of the products, schema ITEM, in the order of the vectors."""
        return pa.Table.from_batches([self._items(*part, store) for part in self._batches()], schema=ITEM)

    def _batches(self) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        for batch in self.table.batches():
            has = [batch[name].is_valid().to_numpy(zero_copy_only=False) for name in ("image", "text")]
            usable = np.zeros(batch.num_rows, bool)
            for weight, present in zip(self.weights, has, strict=True):
                usable |= present & (weight > 0)
            yield batch, usable

    @staticmethod
    def _items(batch: pa.RecordBatch, usable: np.ndarray, store: Store) -> pa.RecordBatch:
        batch = batch.filter(pa.array(usable))
        records = store.get_many(batch["product_id"].to_pylist())
        categories = [category_path(record.category) if record else "" for record in records]
        columns = [batch["product_id"], pa.array(categories, pa.string())]
        columns += [batch["image"].is_valid(), batch["text"].is_valid()]
        return pa.RecordBatch.from_arrays(columns, schema=ITEM)


def build_indexes(
    lake: Lake, config: Config, store: Store, table: EmbeddingTable, profiles: Iterable[str]
) -> list[Outcome]:
    """Build and check a new index generation of each profile, unless nothing has changed; then switch to all.

    Raises: StateError when an embedding file is damaged or a gate refuses; then all go on serving what they
    did, so that no two profiles are of different encoders.
    """
    outcomes, built, refused = [], [], []
    for profile in profiles:
        outcome, generation, report = _build_index(lake, config, store, table, profile)
        outcomes.append(outcome)
        if generation:
            built.append((profile, generation))
        if report and not report.passed:
            checks = (f"{c.name} {c.value:.4g} (limit {c.limit:.4g})" for c in report.checks if not c.ok)
            refused.append(f"{profile} {generation}: {', '.join(checks)}")
    if refused:
        raise StateError(
            f"built, but not let through by the gate: {'; '.join(refused)}; what was current goes on serving"
        )
    for profile, generation in built:
        artifacts.switch(lake.index(profile), generation)
    return outcomes


def _build_index(
    lake: Lake, config: Config, store: Store, table: EmbeddingTable, profile: str
) -> tuple[Outcome, str | None, GateReport | None]:
    """A generation beside the current one, and what the gate says of it; neither when nothing has changed."""
    chosen, root = config.profile(profile), lake.index(profile)
    pointer = table.pointer
    inputs = {"encoder": pointer.encoder, "vectors": pointer.revision, "store": list(store.head())}
    options = {**chosen.model_dump(), "factory": config.index.factory, "nprobe": config.index.nprobe}
    with timed(f"index {profile}") as outcome:
        outcome.rows = table.count()
        if artifacts.reusable(root, inputs, options):
            outcome.reused = outcome.rows
            return outcome, None, None
        if problems := table.verify():
            cure = f"remove {table.root} and run `mmprod embed`"
            raise StateError(f"the embedding table is damaged: {'; '.join(problems)}; {cure}")
        vectors = FusedVectors(table, chosen.weights, chosen.form)
        with artifacts.publishing(root, "index", inputs, options) as draft:
            items = vectors.items(store)
            report = _write(draft, vectors, items, config, table, profile, _live_count(root))
            outcome.changed, outcome.refused = items.num_rows, outcome.rows - items.num_rows
        outcome.detail = {"generation": draft.generation, **draft.counts}
    return outcome, draft.generation, report


def _write(
    draft: artifacts.Draft,
    vectors: FusedVectors,
    items: pa.Table,
    config: Config,
    table: EmbeddingTable,
    profile: str,
    previous: int | None,
) -> GateReport:
    """Build the index into the draft and gate what was really written, read back from disk."""
    weights, width, count = vectors.weights, table.pointer.width, items.num_rows
    if not count:
        raise StateError(f"profile {profile}: no product has a vector that its weights {weights} count")
    dim = width * (sum(weight > 0 for weight in weights) if config.profile(profile).form == "exact" else 1)
    factory = index.resolve_factory(config.index.factory, dim, count)
    built = index.build(vectors, dim, count, factory)
    fault("index.built")
    nprobe = config.index.nprobe or index.lists_probed(built)
    build = folder.Build(profile, weights, table.pointer.encoder, dim, width, factory, nprobe, count)
    folder.save(draft.path, built, items, build)
    limits = config.index
    report = gate(
        Generation.open(draft.path),
        vectors,
        min_recall=limits.min_recall,
        max_similarity=limits.max_similarity,
        max_shrink=limits.max_shrink,
        previous=previous,
    )
    draft.counts |= {"products": count, "factory": factory, "gate": report.to_dict()}
    return report


def _live_count(root: Any) -> int | None:
    name = artifacts.current(root)
    return artifacts.Manifest.read(root / name).counts["products"] if name else None


@contextmanager
def open_index(lake: Lake, profile: str, generation: str | None = None) -> Iterator[Generation]:
    """Hold the current index generation of a profile, every file verified."""
    with artifacts.opened(lake.index(profile), generation, checked=False) as opened:
        yield Generation.open(opened.path, opened.manifest.files)


def encoder_of(lake: Lake, profile: str) -> str:
    """Fingerprint of the encoder that a profile's current index was made with."""
    with artifacts.opened(lake.index(profile), checked=False) as opened:
        return str(opened.manifest.inputs["encoder"])


def build_recall(lake: Lake, config: Config, profile: str, watch: Watch = silent) -> Outcome:
    """Write every product's nearest neighbours under a profile, unless the index is the one it has."""
    config.profile(profile)
    root = lake.recall(profile)
    with timed(f"recall {profile}") as outcome:
        inputs = {"index": artifacts.reference(lake.index(profile))}
        options = {"k": config.recall.k}
        with open_index(lake, profile) as generation:
            outcome.rows = len(generation)
            inputs |= {"encoder": generation.build.encoder}
            if artifacts.reusable(root, inputs, options):
                outcome.reused = outcome.rows
                return outcome
            with artifacts.publishing(root, "recall", inputs, options) as draft:
                advance = watch(outcome.stage, outcome.rows)
                batches = _watched(neighbours(generation, config.recall.k, _BLOCK), advance)
                rows = parquet.write(draft.path / RECALL_FILE, batches, RECALL)
                draft.counts |= {"anchors": outcome.rows, "rows": rows}
            artifacts.switch(root, draft.generation)
            outcome.changed = outcome.rows
            outcome.detail = {"generation": draft.generation, **draft.counts}
    return outcome


def _watched(batches: Iterator[pa.RecordBatch], advance: Advance) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        advance(_BLOCK)


def read_recall(lake: Lake, profile: str) -> pa.Table:
    """The current recall table of a profile, verified."""
    with artifacts.opened(lake.recall(profile)) as opened:
        return parquet.read(opened.path / RECALL_FILE)
