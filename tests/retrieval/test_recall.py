"""The recall table against a numpy oracle, with duplicates planted in the catalogue."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmprod.datasets.schemas import RECALL, check
from mmprod.retrieval import index
from mmprod.retrieval.generation import Generation
from mmprod.retrieval.recall import neighbours
from mmprod.storage.errors import InputError


def table(generation: Generation, k: int, block: int = 1024) -> pa.Table:
    return pa.Table.from_batches(neighbours(generation, k, block), RECALL)


def column(found: pa.Table, name: str, k: int) -> np.ndarray:
    values: np.ndarray = found[name].to_numpy().reshape(-1, k)
    return values


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.7, 0.3), (1.0, 0.0)])
@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat"])
def test_equals_the_full_matrix(weights: tuple[float, float], factory: str, opened: Callable) -> None:
    catalogue, generation = opened(300, weights, factory, nprobe=8)
    n, k = len(generation), 12
    found = table(generation, k, block=64)
    check(found, RECALL, "recall")
    cosines = [part @ part.T for part in (catalogue.image, catalogue.text)]
    fused = weights[0] * cosines[0] + weights[1] * cosines[1]
    np.fill_diagonal(fused, -np.inf)
    assert found["anchor_id"].to_pylist() == np.repeat(catalogue.items["product_id"].to_numpy(), k).tolist()
    assert column(found, "rank", k).tolist() == [list(range(1, k + 1))] * n
    assert np.allclose(column(found, "score", k), -np.sort(-fused, axis=1)[:, :k], atol=1e-3)
    rows = np.array([int(product[1:]) for product in found["product_id"].to_pylist()]).reshape(-1, k)
    assert (rows != np.arange(n)[:, None]).all()
    assert np.allclose(column(found, "score", k), np.take_along_axis(fused, rows, 1), atol=1e-3)
    for name, part, cosine, weight in zip(
        ("image_score", "text_score"), (catalogue.image, catalogue.text), cosines, weights, strict=True
    ):
        there = part.any(axis=1) & (weight > 0)
        scores = found[name].to_numpy(zero_copy_only=False).reshape(-1, k)
        known = there[:, None] & there[rows]
        assert np.array_equal(found[name].is_valid().to_numpy().reshape(-1, k), known)
        assert np.allclose(scores[known], np.take_along_axis(cosine, rows, 1)[known], atol=1e-3)


def test_score_is_the_weighted_sum_and_ties_come_by_row(opened: Callable) -> None:
    _, generation = opened(300, (0.7, 0.3))
    found = table(generation, 20)
    names = ("image_score", "text_score")
    parts = [np.nan_to_num(found[name].to_numpy(zero_copy_only=False)) for name in names]
    scores = found["score"].to_numpy()
    assert np.allclose(scores, 0.7 * parts[0] + 0.3 * parts[1], atol=1e-6)
    lines = scores.reshape(-1, 20)
    rows = np.array([generation.row_of(product) for product in found["product_id"].to_pylist()])
    falls = np.diff(lines, axis=1)
    assert (falls <= 0).all()
    assert (np.diff(rows.reshape(-1, 20), axis=1)[falls == 0] > 0).all()


def test_duplicates_stay_and_only_the_anchor_is_left_out(opened: Callable) -> None:
    catalogue, generation = opened(300)
    found = table(generation, 3).to_pylist()
    _, first, inverse = np.unique(catalogue.fused, axis=0, return_index=True, return_inverse=True)
    copies = {
        f"p{row:05}": {f"p{other:05}" for other in np.flatnonzero(inverse == inverse[row])} - {f"p{row:05}"}
        for row in range(len(inverse))
        if (inverse == inverse[row]).sum() > 1
    }
    assert len(first) < len(inverse)
    for anchor, twins in copies.items():
        listed = {line["product_id"] for line in found if line["anchor_id"] == anchor}
        assert twins <= listed


def test_all_equal_vectors_still_give_k_others(catalogue: Callable) -> None:
    made = catalogue(100, (0.5, 0.5))
    made.fused[:] = made.fused[50]
    flat = index.build([made.fused], 32, len(made.fused))
    found = table(Generation(flat, made.items, made.build()), 5)
    pairs = list(zip(found["anchor_id"].to_pylist(), found["product_id"].to_pylist(), strict=True))
    assert len(set(pairs)) == 5 * len(made.fused)
    assert all(anchor != product for anchor, product in pairs)


def test_blocks_make_no_difference_and_small_sets_give_what_there_is(opened: Callable) -> None:
    _, generation = opened(60)
    n = len(generation)
    assert table(generation, 10_000).num_rows == n * (n - 1)
    assert (
        table(generation, 5, block=7)
        .drop_columns(["score", "image_score", "text_score"])
        .equals(table(generation, 5, block=1000).drop_columns(["score", "image_score", "text_score"]))
    )


@pytest.mark.parametrize("n", [0, 1])
def test_nobody_to_be_near(n: int, catalogue: Callable) -> None:
    made = catalogue(20, (0.5, 0.5))
    flat = index.build([made.fused[:n]], 32, n)
    assert table(Generation(flat, made.items.slice(0, n), made.build(count=n)), 5).num_rows == 0


def test_half_width_vectors_have_a_score_but_no_parts(catalogue: Callable) -> None:
    made = catalogue(100, (0.5, 0.5))
    mixed = made.image + made.text
    mixed = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
    flat = index.build([mixed], 16, len(mixed))
    found = table(Generation(flat, made.items, made.build(dim=16)), 4)
    assert found["image_score"].null_count == found["text_score"].null_count == found.num_rows
    cosines = mixed @ mixed.T
    np.fill_diagonal(cosines, -np.inf)
    assert np.allclose(column(found, "score", 4), -np.sort(-cosines, axis=1)[:, :4], atol=1e-6)


@pytest.mark.parametrize("k", [0, 10**9])
def test_k_is_refused_at_the_call(k: int, opened: Callable) -> None:
    _, generation = opened(60)
    with pytest.raises(InputError, match=f"k is {k}"):
        neighbours(generation, k)


def test_fault_point_fires_after_a_batch_was_taken(catalogue: Callable, tmp_path: Path) -> None:
    made = catalogue(100, (0.5, 0.5))
    path = made.save(tmp_path / "g")
    program = (
        "import sys; from pathlib import Path; from mmprod.retrieval.generation import Generation\n"
        "from mmprod.retrieval.recall import neighbours\n"
        "for batch in neighbours(Generation.open(Path(sys.argv[1])), 3, 10):\n"
        "    print(batch.num_rows, flush=True)"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(path)],
        env={"MMPROD_FAULT": "recall.batch:2:kill", "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == -9, ended.stderr
    assert ended.stdout.split() == ["30", "30"]
