"""Recall table → groups of products that are the same item; and vectors with groups, for other systems."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.lazy import lazy
from mmprod.datasets.schemas import GROUP, feature_schema
from mmprod.lake import Lake
from mmprod.retrieval.columns import texts_to_arrow
from mmprod.sections import Config
from mmprod.stages.daily.recall import read_recall
from mmprod.stages.outcome import Outcome, timed
from mmprod.stages.publish import reuse_or_publish
from mmprod.storage import artifacts, parquet

scipy = lazy("scipy")  # slow to import, and not needed if the groups are up to date

GROUPS_FILE, FEATURES_FILE = "groups.parquet", "features.parquet"


def build_groups(lake: Lake, config: Config) -> Outcome:
    """Publish the groups of same items, unless recall table and score are unchanged."""
    section = config.groups
    with timed("groups") as outcome:
        inputs = {"recall": artifacts.reference(lake.recall(section.profile))}
        with reuse_or_publish(outcome, lake.groups, "group", inputs, section.model_dump()) as draft:
            if not draft.reused:
                table = group(read_recall(lake, section.profile), section.score)
                rows = parquet.write(draft.path / GROUPS_FILE, table.to_batches(), GROUP)
                draft.counts |= {"rows": rows, "groups": len(pc.unique(table["group_id"]))}
            outcome.rows = draft.counts["rows"]
    return outcome


def group(recall: pa.Table, score: float) -> pa.Table:
    """Groups of two or more products: the connected components of the graph of mutual neighbours.

    Two products are joined if each is among the other's neighbours in `recall` (schema RECALL) with at least
    `score`. One-sided neighbours don't count, as they make long chains of unlike products. Returns schema
    GROUP, sorted by product id.
    """
    near = recall.filter(pc.greater_equal(recall["score"], score))
    ids = pc.unique(pa.chunked_array([*near["anchor_id"].chunks, *near["product_id"].chunks], pa.string()))
    ids = ids.take(pc.sort_indices(ids))
    if not len(ids):
        return pa.Table.from_batches([], GROUP)  # empty_table() would import pandas
    rows, columns = (pc.index_in(near[name], ids).to_numpy() for name in ("anchor_id", "product_id"))
    found = scipy.sparse.coo_array(
        (np.ones(len(rows), bool), (rows, columns)), shape=(len(ids), len(ids))
    ).tocsr()
    _, labels = scipy.sparse.csgraph.connected_components(found.multiply(found.T), directed=False)
    _, first, inverse, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    several = np.flatnonzero(sizes[inverse] > 1)
    columns = [ids.take(several), ids.take(first[inverse][several])]
    return pa.Table.from_arrays(columns, schema=GROUP)


def export_features(lake: Lake, table: EmbeddingTable) -> Outcome:
    """Publish every live product's vectors and group as one Parquet file, unless both are unchanged."""
    pointer = table.pointer
    with timed("features") as outcome:
        inputs = {
            "encoder": pointer.encoder,
            "vectors": pointer.revision,
            "groups": artifacts.reference(lake.groups),
        }
        with reuse_or_publish(outcome, lake.features, "feature", inputs, {}) as draft:
            if not draft.reused:
                schema, batches = feature_schema(pointer.width), _features(table, read_groups(lake))
                draft.counts["rows"] = parquet.write(draft.path / FEATURES_FILE, batches, schema)
            outcome.rows = draft.counts["rows"]
        outcome.detail["folder"] = str(draft.path)
    return outcome


def read_groups(lake: Lake) -> pa.Table:
    """The current groups, verified; empty if groups were never built."""
    if artifacts.current(lake.groups) is None:
        return pa.Table.from_batches([], GROUP)  # empty_table() would import pandas
    with artifacts.opened(lake.groups) as opened:
        return parquet.read(opened.path / GROUPS_FILE)


def groups_of(groups: pa.Table, product_ids: Sequence[str]) -> dict[str, str]:
    """The groups of these products, without the products that are in no group."""
    mine = groups.filter(pc.is_in(groups["product_id"], texts_to_arrow(product_ids)))
    return dict(zip(mine["product_id"].to_pylist(), mine["group_id"].to_pylist(), strict=True))


def _features(table: EmbeddingTable, groups: pa.Table) -> Iterator[pa.RecordBatch]:
    schema, grouped = feature_schema(table.pointer.width), groups["product_id"].combine_chunks()
    group_ids = groups["group_id"].combine_chunks()
    for batch in table.batches():
        places = pc.index_in(batch["product_id"], grouped)
        columns = [batch["product_id"], batch["image"], batch["text"], group_ids.take(places)]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
