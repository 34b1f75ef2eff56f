"""Saved searches, answered anew from the current index."""

import hashlib
from collections.abc import Sequence

import pyarrow as pa

from mmprod import artifacts
from mmprod.datasets import parquet
from mmprod.datasets.schemas import FOUND
from mmprod.encoders.clip import Encoder
from mmprod.encoders.fusion import fuse_query
from mmprod.lake import Lake
from mmprod.stages.index import open_index
from mmprod.stages.outcome import Outcome, timed

FOUND_FILE = "found.parquet"
_TOGETHER = 256  # texts


def rerun_searches(lake: Lake, encoder: Encoder, texts: Sequence[str], profile: str, top: int) -> Outcome:
    """Publish what each text finds in a profile's index, and count the finds that are new since last time.

    `texts` are in normal form. Nothing is done where neither they nor the index have changed.
    """
    with timed("searches") as outcome:
        listed = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        inputs = {"index": artifacts.reference(lake.index(profile)), "texts": listed}
        options = {"profile": profile, "top": top}
        outcome.rows = len(texts)
        if artifacts.reusable(lake.found, inputs, options):
            outcome.reused = outcome.rows
            return outcome
        before = _pairs(read_found(lake))
        table = _search(lake, encoder, texts, profile, top)
        with artifacts.publishing(lake.found, "found", inputs, options) as draft:
            rows = parquet.write(draft.path / FOUND_FILE, table.to_batches(), FOUND)
            draft.counts |= {"rows": rows, "new": len(_pairs(table) - before)}
        artifacts.switch(lake.found, draft.generation)
        outcome.changed = outcome.rows
        outcome.detail = {"generation": draft.generation, **draft.counts}
    return outcome


def read_found(lake: Lake) -> pa.Table:
    """What the searches found the last time, schema FOUND; empty before the first time."""
    if artifacts.current(lake.found) is None:
        return FOUND.empty_table()
    with artifacts.opened(lake.found) as opened:
        return parquet.read(opened.path / FOUND_FILE)


def _search(lake: Lake, encoder: Encoder, texts: Sequence[str], profile: str, top: int) -> pa.Table:
    rows: list[dict[str, object]] = []
    with open_index(lake, profile) as generation:
        for start in range(0, len(texts), _TOGETHER):
            some = texts[start : start + _TOGETHER]
            vectors = fuse_query(encoder.titles(some), generation.build.weights, generation.build.dim)
            hits = generation.search(vectors, top, encoder=encoder.fingerprint)
            for text, ids, scores in zip(some, hits.ids, hits.scores, strict=True):
                for rank, (name, score) in enumerate(zip(ids, scores, strict=True), 1):
                    rows.append({"text": text, "product_id": name, "rank": rank, "score": float(score)})
    return pa.Table.from_pylist(rows, schema=FOUND)


def _pairs(table: pa.Table) -> set[tuple[str, str]]:
    return set(zip(table["text"].to_pylist(), table["product_id"].to_pylist(), strict=True))
