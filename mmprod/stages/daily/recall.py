"""Index → recall table: every product's nearest neighbours."""

from collections.abc import Iterator

import pyarrow as pa

from mmprod.datasets.schemas import RECALL
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages import needs
from mmprod.stages.daily.index import open_index
from mmprod.stages.outcome import Outcome, Watch, silent, timed
from mmprod.storage import artifacts, parquet
from mmprod.storage.room import require

RECALL_FILE = "recall.parquet"
_BLOCK = 1024  # anchors searched at once


def build_recall(lake: Lake, config: Config, profile: str, watch: Watch = silent) -> Outcome:
    """Write every product's nearest neighbours under a profile, unless the index is the one it has.

    Raises: StateError when there is no index, or the disk has no room.
    """
    config.profile(profile)
    root, source = lake.recall(profile), lake.index(profile)
    with timed(f"recall {profile}") as outcome:
        with artifacts.opened(source, checked=False) as index:
            outcome.rows, encoder = index.manifest.counts["products"], index.manifest.inputs["encoder"]
        inputs = {"index": artifacts.reference(source), "encoder": encoder}
        options = {"k": config.recall.k}
        if name := artifacts.reusable(root, inputs, options):
            outcome.reused, outcome.made = outcome.rows, {str(root): name}
            return outcome
        with artifacts.publishing(root, "recall", inputs, options) as draft:
            need = needs.recall_bytes(outcome.rows, config.recall.k, needs.item_bytes(index))
            require(f"a recall table of {outcome.rows:,} products", need, root)
            rows = parquet.write(draft.path / RECALL_FILE, _rows(lake, config, profile, watch), RECALL)
            draft.counts |= {"anchors": outcome.rows, "rows": rows}
        artifacts.switch(root, draft.generation)
        outcome.changed = outcome.rows
        outcome.detail = {"generation": draft.generation, **draft.counts}
        outcome.made[str(root)] = draft.generation
    return outcome


def _rows(lake: Lake, config: Config, profile: str, watch: Watch) -> Iterator[pa.RecordBatch]:
    """The neighbours of all products, of schema RECALL."""
    from mmprod.retrieval.recall import neighbours  # Faiss takes half a second to import

    with open_index(lake, profile) as generation:
        advance = watch(f"recall {profile}", len(generation))
        for batch in neighbours(generation, config.recall.k, _BLOCK):
            yield batch
            advance(_BLOCK)


def read_recall(lake: Lake, profile: str) -> pa.Table:
    """The current recall table of a profile, verified."""
    with artifacts.opened(lake.recall(profile)) as opened:
        return parquet.read(opened.path / RECALL_FILE)
