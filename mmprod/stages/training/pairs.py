"""Product store → training pairs, and every rejected product with its reason."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mmprod.datasets.embeddings.table import POINTER, EmbeddingTable, read_pointer
from mmprod.datasets.pairs.pairs import HELD_OUT, TRAIN, candidates, numbered
from mmprod.datasets.pairs.quality import judge
from mmprod.datasets.pairs.select import cap, select
from mmprod.datasets.pairs.split import split
from mmprod.datasets.store.store import Store
from mmprod.datasets.vectors import from_column
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.encoder import open_encoder
from mmprod.stages.outcome import Progress, no_progress
from mmprod.storage.errors import StateError

_OTHERS = 256  # titles with which each picture is compared


@dataclass(frozen=True)
class Selected:
    """`pairs` (schema `PAIR`), and every other live product with the first reason (schema `REJECTED`)."""

    pairs: pa.Table
    rejected: pa.Table

    @property
    def considered(self) -> int:
        """Number of live products."""
        return len(self.pairs) + len(self.rejected)

    @property
    def reasons(self) -> dict[str, int]:
        """Number of rejected products by reason, in the order of the rules."""
        return dict(Counter(self.rejected["reason"].to_pylist()))

    @property
    def splits(self) -> dict[str, int]:
        """Number of pairs by split."""
        counts = Counter(self.pairs["split"].to_pylist())
        return {name: counts[name] for name in (TRAIN, HELD_OUT)}


def select_pairs(
    lake: Lake,
    config: Config,
    store: Store,
    progress: Progress = no_progress,
    agreement: Mapping[str, float] | None = None,
) -> Selected:
    """The training pairs of a store by the rules of ``[pairs]``; deterministic.

    Every picture that passes the other rules is decoded once, which takes a few milliseconds of a core.
    `agreement`: how well picture and title fit, by product id; if not given and ``min_agreement`` is set, it
    is computed from the lake's embeddings. Raises: InputError, StateError.
    """
    selection, quality = config.pairs, config.pairs.quality
    if agreement is None:
        agreement = {} if quality.min_agreement is None else agreement_of(lake, config)
    table, missing = candidates(store.iterate())
    table, unselected = select(table, selection)
    workers = len(os.sched_getaffinity(0))
    advance = progress("judge pairs", len(table))
    table, bad = judge(table, store, quality, agreement, config.images.max_pixels, workers, advance)
    table, over = cap(table, selection)
    pairs = split(numbered(table), selection.held_out, selection.seed)
    return Selected(pairs, pa.concat_tables([missing, unselected, bad, over]))


def agreement_of(lake: Lake, config: Config) -> dict[str, float]:
    """Product id → share in [0, 1] of 256 other titles that fit the picture less well than its own title.

    Fit is the cosine of image and text vectors under the configured encoder; a random title has 0.5 with any
    encoder. Raises: StateError if the lake has no vectors of this encoder.
    """
    encoder = open_encoder(lake, config)
    root = lake.embeddings(config.encoder.model, encoder.fingerprint)
    if not (root / POINTER).exists():
        raise StateError(
            f"pairs.quality.min_agreement is {config.pairs.quality.min_agreement}, but {lake.root} has no "
            f"vectors of {config.encoder.model}; run `mmprod embed`, or switch the rule off"
        )
    shards = len(read_pointer(root).position)
    table = EmbeddingTable(root, encoder.fingerprint, encoder.width, shards)
    others = _some_titles(table)
    return {name: share for batch in table.batches() for name, share in _agreement(batch, others)}


def _some_titles(table: EmbeddingTable) -> np.ndarray:
    """Vectors float32 [n, d] of up to `_OTHERS` titles, evenly spread over the table."""
    step, found, seen = max(1, table.count() // _OTHERS), [], 0
    for batch in table.batches():
        text, present = from_column(batch["text"])
        rows = np.arange(-seen % step, len(text), step)
        found.append(text[rows[present[rows]]])
        seen += len(text)
    return np.concatenate(found)[:_OTHERS].astype(np.float32) if found else np.empty((0, 1), np.float32)


def _agreement(batch: pa.RecordBatch, others: np.ndarray) -> list[tuple[str, float]]:
    image, has_image = from_column(batch["image"])
    text, has_text = from_column(batch["text"])
    both = has_image & has_text
    image, text = image[both].astype(np.float32), text[both].astype(np.float32)
    own = np.einsum("nd,nd->n", image, text)
    shares = (image @ others.T < own[:, None]).mean(axis=1)
    names = batch["product_id"].filter(pa.array(both)).to_pylist()
    return list(zip(names, shares.tolist(), strict=True))
