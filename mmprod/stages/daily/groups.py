"""Recall table → groups of products that are the same item; and vectors with groups, for other systems."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.schemas import GROUP, feature_schema
from mmprod.lake import Lake
from mmprod.retrieval.columns import texts_to_arrow
from mmprod.sections import Config
from mmprod.stages.daily.recall import read_recall
from mmprod.stages.outcome import Outcome, timed
from mmprod.storage import artifacts, parquet

if TYPE_CHECKING:
    from mmprod.datasets.embeddings.table import EmbeddingTable

GROUPS_FILE, FEATURES_FILE = "groups.parquet", "features.parquet"


def build_groups(lake: Lake, config: Config) -> Outcome:
    """Publish which products are the same item, unless recall table and score are those it was made from."""
    section = config.groups
    with timed("groups") as outcome:
        inputs = {"recall": artifacts.reference(lake.recall(section.profile))}
        options = section.model_dump()
        if name := artifacts.reusable(lake.groups, inputs, options):
            outcome.rows = outcome.reused = artifacts.Manifest.read(lake.groups / name).counts["rows"]
            outcome.made[str(lake.groups)] = name
            return outcome
        table = group(read_recall(lake, section.profile), section.score)
        with artifacts.publishing(lake.groups, "group", inputs, options) as draft:
            outcome.rows = outcome.changed = parquet.write(
                draft.path / GROUPS_FILE, table.to_batches(), GROUP
            )
            draft.counts |= {"rows": outcome.rows, "groups": len(pc.unique(table["group_id"]))}
        artifacts.switch(lake.groups, draft.generation)
        outcome.made[str(lake.groups)] = draft.generation
        outcome.detail = {"generation": draft.generation, **draft.counts}
    return outcome


def group(recall: pa.Table, score: float) -> pa.Table:
    """Groups of two and more, as GROUP by product id: the connected parts of the graph of mutual neighbours.

    Two products are joined where each is among the other's neighbours (table of schema RECALL) with at
    least `score`. One-sided finds don't count: they are what makes long chains of unlike products.
    """
    from scipy.sparse import coo_array  # a second to import
    from scipy.sparse.csgraph import connected_components

    near = recall.filter(pc.greater_equal(recall["score"], score))
    ids = pc.unique(pa.chunked_array([*near["anchor_id"].chunks, *near["product_id"].chunks], pa.string()))
    ids = ids.take(pc.sort_indices(ids))
    if not len(ids):
        return pa.Table.from_batches([], GROUP)  # empty_table() would import pandas
    rows, columns = (pc.index_in(near[name], ids).to_numpy() for name in ("anchor_id", "product_id"))
    found = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(ids), len(ids))).tocsr()
    _, labels = connected_components(found.multiply(found.T), directed=False)
    _, first, inverse, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    several = np.flatnonzero(sizes[inverse] > 1)
    columns = [ids.take(several), ids.take(first[inverse][several])]
    return pa.Table.from_arrays(columns, schema=GROUP)


def export_features(lake: Lake, table: "EmbeddingTable") -> Outcome:
    """Publish every live product's vectors and group as one Parquet file, unless neither has moved."""
    pointer = table.pointer
    with timed("features") as outcome:
        inputs = {
            "encoder": pointer.encoder,
            "vectors": pointer.revision,
            "groups": artifacts.reference(lake.groups),
        }
        if name := artifacts.reusable(lake.features, inputs, {}):
            outcome.rows = outcome.reused = artifacts.Manifest.read(lake.features / name).counts["rows"]
            outcome.made[str(lake.features)] = name
            return outcome
        with artifacts.publishing(lake.features, "feature", inputs, {}) as draft:
            batches = _features(table, read_groups(lake))
            path = draft.path / FEATURES_FILE
            outcome.rows = outcome.changed = parquet.write(path, batches, feature_schema(pointer.width))
            draft.counts["rows"] = outcome.rows
        artifacts.switch(lake.features, draft.generation)
        outcome.made[str(lake.features)] = draft.generation
        outcome.detail = {"generation": draft.generation, "folder": str(lake.features / draft.generation)}
    return outcome


def read_groups(lake: Lake) -> pa.Table:
    """The current groups, verified; none before the first were built."""
    if artifacts.current(lake.groups) is None:
        return pa.Table.from_batches([], GROUP)  # empty_table() would import pandas
    with artifacts.opened(lake.groups) as opened:
        return parquet.read(opened.path / GROUPS_FILE)


def groups_of(groups: pa.Table, product_ids: Sequence[str]) -> dict[str, str]:
    """The group of each of these products that is in one."""
    mine = groups.filter(pc.is_in(groups["product_id"], texts_to_arrow(product_ids)))
    return dict(zip(mine["product_id"].to_pylist(), mine["group_id"].to_pylist(), strict=True))


def _features(table: "EmbeddingTable", groups: pa.Table) -> Iterator[pa.RecordBatch]:
    schema, grouped = feature_schema(table.pointer.width), groups["product_id"].combine_chunks()
    group_ids = groups["group_id"].combine_chunks()
    for batch in table.batches():
        places = pc.index_in(batch["product_id"], grouped)
        columns = [batch["product_id"], batch["image"], batch["text"], group_ids.take(places)]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
