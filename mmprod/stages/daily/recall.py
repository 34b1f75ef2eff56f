"""Index → recall table: every product's nearest neighbours."""

from collections.abc import Iterator

import pyarrow as pa

from mmprod.datasets.schemas import RECALL
from mmprod.lake import Lake
from mmprod.retrieval.recall import neighbours
from mmprod.sections import Config
from mmprod.stages import needs
from mmprod.stages.open_index import open_index
from mmprod.stages.outcome import Outcome, Progress, no_progress, timed
from mmprod.stages.publish import reuse_or_publish
from mmprod.storage import artifacts, parquet
from mmprod.storage.room import require

RECALL_FILE = "recall.parquet"
_BLOCK = 1024  # anchors per search


def build_recall(lake: Lake, config: Config, profile: str, progress: Progress = no_progress) -> Outcome:
    """Publish every product's nearest neighbours under a profile, unless index and k are unchanged.

    Raises: StateError if there is no index, or not enough disk space.
    """
    config.profile(profile)
    root, source = lake.recall(profile), lake.index(profile)
    with timed(f"recall {profile}") as outcome:
        with artifacts.opened(source, checked=False) as index:
            outcome.rows, encoder = index.manifest.counts["products"], index.manifest.inputs["encoder"]
        inputs = {"index": artifacts.reference(source), "encoder": encoder}
        with reuse_or_publish(outcome, root, "recall", inputs, {"k": config.recall.k}) as draft:
            if not draft.reused:
                need = needs.recall_bytes(outcome.rows, config.recall.k, needs.item_bytes(index))
                require(f"a recall table of {outcome.rows:,} products", need, root)
                rows = parquet.write(draft.path / RECALL_FILE, _rows(lake, config, profile, progress), RECALL)
                draft.counts |= {"anchors": outcome.rows, "rows": rows}
    return outcome


def _rows(lake: Lake, config: Config, profile: str, progress: Progress) -> Iterator[pa.RecordBatch]:
    """The neighbours of all products, of schema RECALL."""
    with open_index(lake, profile) as generation:
        advance = progress(f"recall {profile}", len(generation))
        for batch in neighbours(generation, config.recall.k, _BLOCK):
            yield batch
            advance(_BLOCK)


def read_recall(lake: Lake, profile: str) -> pa.Table:
    """The current recall table of a profile, verified."""
    with artifacts.opened(lake.recall(profile)) as opened:
        return parquet.read(opened.path / RECALL_FILE)
