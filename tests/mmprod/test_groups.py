"""Groups of same items against an independent computation, and the tables made for others."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mmprod.datasets.schemas import GROUP, RECALL
from mmprod.stages.daily.embed import open_embeddings
from mmprod.stages.daily.groups import FEATURES_FILE, build_groups, export_features, group, read_groups
from mmprod.stages.encoder import load_encoder
from mmprod.storage import parquet


def recall(pairs: dict[tuple[str, str], float]) -> pa.Table:
    rows = [
        {"anchor_id": a, "product_id": b, "rank": 1, "score": score, "image_score": None, "text_score": None}
        for (a, b), score in pairs.items()
    ]
    return pa.Table.from_pylist(rows, schema=RECALL)


def grouped(pairs: dict[tuple[str, str], float], score: float) -> set[frozenset[str]]:
    members: dict[str, set[str]] = {}
    for row in group(recall(pairs), score).to_pylist():
        members.setdefault(row["group_id"], set()).add(row["product_id"])
    assert all(name == min(ids) for name, ids in members.items())
    return {frozenset(ids) for ids in members.values()}


def test_mutual_neighbours_above_the_score_are_one_item() -> None:
    both = {("a", "b"): 0.95, ("b", "a"): 0.95, ("b", "c"): 0.9, ("c", "b"): 0.9}
    one_sided = {("d", "a"): 0.99}
    low = {("e", "f"): 0.8, ("f", "e"): 0.8}
    assert grouped({**both, **one_sided, **low}, 0.85) == {frozenset("abc")}
    assert group(recall({}), 0.5).equals(GROUP.empty_table())


@given(st.dictionaries(st.tuples(*[st.sampled_from("abcdefgh")] * 2), st.sampled_from([0.2, 0.6, 0.9])))
def test_groups_are_the_connected_parts(pairs: dict[tuple[str, str], float]) -> None:
    """By repeated merging, where the code uses a sparse graph."""
    pairs = {pair: score for pair, score in pairs.items() if pair[0] != pair[1]}
    parts = [{name} for name in "abcdefgh"]
    for a, b in itertools.combinations("abcdefgh", 2):
        if min(pairs.get((a, b), 0), pairs.get((b, a), 0)) >= 0.5:
            first, second = (next(part for part in parts if name in part) for name in (a, b))
            if first is not second:
                first |= second
                parts.remove(second)
    assert grouped(pairs, 0.5) == {frozenset(part) for part in parts if len(part) > 1}


def test_groups_and_features_are_made_once_and_follow_what_changed(world) -> None:
    world.run(1)
    config = world.config.model_copy(update={"groups": world.config.groups.model_copy(update={"score": 0.5})})
    outcome = build_groups(world.lake, config)
    assert outcome.changed == outcome.rows == read_groups(world.lake).num_rows > 0
    assert build_groups(world.lake, config).reused == outcome.rows
    encoder = load_encoder(world.lake, config)
    table = open_embeddings(world.lake, config, encoder)
    made = export_features(world.lake, table)
    assert made.changed == table.count()
    assert export_features(world.lake, table).reused == made.rows
    written = parquet.read(Path(made.detail["folder"]) / FEATURES_FILE)
    rows = {row["product_id"]: row for row in written.to_pylist()}
    groups = {row["product_id"]: row["group_id"] for row in read_groups(world.lake).to_pylist()}
    assert {name: row["group_id"] for name, row in rows.items() if row["group_id"]} == groups
    for name, kept in table.lookup(list(rows)[:5]).items():
        if kept.text is not None:
            np.testing.assert_array_equal(np.array(rows[name]["text"], np.float16), kept.text)
    world.run(2)
    assert export_features(world.lake, open_embeddings(world.lake, config, encoder)).changed > 0
