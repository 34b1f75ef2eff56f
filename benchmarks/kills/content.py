"""What a lake holds, so that two can be compared: content by part, and what was left lying about."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmprod.config import load
from mmprod.datasets.embeddings.table import EmbeddingTable, read_pointer
from mmprod.lake import Lake
from mmprod.retrieval.generation import Generation
from mmprod.stages.daily.groups import FEATURES_FILE, read_groups
from mmprod.stages.daily.recall import read_recall
from mmprod.stages.open_index import open_index
from mmprod.stages.store import open_store
from mmprod.storage import artifacts, parquet

_TEMPORARY = re.compile(
    r"^\.(draft-|.*\.draft$|.+\.[a-z0-9_]{8}$)"
)  # of artifacts, of parts, of single files


def content(config_file: Path) -> dict[str, str]:
    """A digest of each part that a lake has, whatever the order of rows and the names of generations."""
    config = load(config_file).config
    lake = Lake(config.lake)
    with open_store(lake, config) as store:
        found = {"store": store.state_hash()}
    found |= dict(_embeddings(lake))
    for profile in config.profiles:
        if artifacts.current(lake.index(profile)):
            with open_index(lake, profile) as generation:
                found[f"index {profile}"] = _index(generation)
    for profile in config.recall.profiles:
        if artifacts.current(lake.recall(profile)):
            found[f"recall {profile}"] = _table(read_recall(lake, profile), "anchor_id", "rank")
    if artifacts.current(lake.groups):
        found["groups"] = _table(read_groups(lake), "product_id")
    if artifacts.current(lake.features):
        with artifacts.opened(lake.features) as opened:
            found["features"] = _table(parquet.read(opened.path / FEATURES_FILE), "product_id")
    changes = [parquet.read(path) for path in lake.changes.glob("g*/changes.parquet")]
    found["changes"] = _digest(sorted(str(row) for table in changes for row in table.to_pylist()))
    return found | {f"generations of {root}": n for root, n in _generations(lake)}


def _embeddings(lake: Lake) -> Iterator[tuple[str, str]]:
    for root in lake.embedding_roots():
        pointer = read_pointer(root)
        table = EmbeddingTable(root, pointer.encoder, pointer.width, len(pointer.position))
        yield f"embeddings {root.name}", _table(table.dataset.to_table(), "product_id")
        yield f"position of {root.name}", str(pointer.position)


def _index(generation: Generation) -> str:
    order = np.argsort(generation.ids.to_pylist())
    return _digest([generation.ids_of(order), generation.vectors(order).tobytes()])


def _table(table: pa.Table, *keys: str) -> str:
    return _digest(table.sort_by([(key, "ascending") for key in keys]).to_pylist())


def _digest(rows: object) -> str:
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def _generations(lake: Lake) -> Iterator[tuple[str, str]]:
    for root in lake.artifact_roots():
        yield str(root.relative_to(lake.root)), str(len(artifacts.generations(root)))


def leftovers(lake: Path) -> list[str]:
    """Drafts, temporary files and parts of shards below a lake where nothing runs."""
    found = [path for path in lake.rglob("*") if _TEMPORARY.match(path.name)]
    found += lake.glob("embeddings/*/parts/*")
    return sorted(str(path.relative_to(lake)) for path in found)
