import json
from collections.abc import Callable

import numpy as np
import pytest

from mmprod.retrieval import index
from mmprod.retrieval.gate import GateReport, gate
from mmprod.retrieval.generation import Generation


def failed(report: GateReport) -> list[str]:
    return [check.name for check in report.checks if not check.ok]


@pytest.mark.parametrize(("factory", "nprobe"), [("Flat", 1), ("IVF8,Flat", 8), ("HNSW32", 1)])
def test_a_good_generation_passes(factory: str, nprobe: int, opened: Callable) -> None:
    catalogue, generation = opened(1000, factory=factory, nprobe=nprobe)
    report = gate(generation, np.array_split(catalogue.fused, 7), previous=1000)
    assert report.passed, report
    names = ["count", "unusable", "shrink", "recall@10", "self", "similarity"]
    assert [check.name for check in report.checks] == names
    assert json.loads(json.dumps(report.to_dict()))["passed"] is True


def test_recall_is_what_counting_by_hand_gives(opened: Callable) -> None:
    catalogue, generation = opened(200, factory="IVF16,Flat", nprobe=2)
    fused = catalogue.fused.astype(np.float64)
    scores = fused @ fused.T
    tenth = -np.sort(-scores, axis=1)[:, 9]
    rows = generation.search(catalogue.fused, 10, encoder="encoder-a").rows
    right = np.take_along_axis(scores, rows, 1) >= tenth[:, None] - 1e-6
    recall = {check.name: check for check in gate(generation, [catalogue.fused]).checks}["recall@10"]
    assert recall.value == pytest.approx(right.mean())  # at most 200 products: the sample is all of them
    assert 0.2 < recall.value < 0.95
    assert not recall.ok


def test_too_few_lists_looked_through(opened: Callable) -> None:
    catalogue, generation = opened(3000, factory="IVF64,Flat", nprobe=1)
    assert failed(gate(generation, [catalogue.fused])) == ["recall@10"]
    assert gate(generation, [catalogue.fused], min_recall=0.1).passed


def test_a_lossy_index_is_measured_against_the_true_vectors(opened: Callable) -> None:
    catalogue, generation = opened(3000, factory="PQ4x4")
    assert "recall@10" in failed(gate(generation, [catalogue.fused]))


def test_vectors_under_other_rows(catalogue: Callable) -> None:
    made = catalogue(1000, (0.5, 0.5))
    shuffled = np.random.default_rng(0).permutation(made.fused)
    flat = index.build([shuffled], 32, len(shuffled))
    report = gate(Generation(flat, made.items, made.build()), [made.fused])
    assert failed(report) == ["recall@10", "self"]
    assert all(check.value < 0.1 for check in report.checks if not check.ok)


def test_collapsed_vectors(catalogue: Callable) -> None:
    made = catalogue(500, (0.5, 0.5))
    made.fused[:] = 0.95 * made.fused[0] + 0.02 * made.fused
    flat = index.build([made.fused], 32, len(made.fused))
    assert failed(gate(Generation(flat, made.items, made.build()), [made.fused])) == ["similarity"]


@pytest.mark.parametrize(("previous", "passes"), [(None, True), (0, True), (900, True), (2000, False)])
def test_shrinking(previous: int | None, passes: bool, opened: Callable) -> None:
    catalogue, generation = opened(700)
    report = gate(generation, [catalogue.fused], previous=previous)
    assert report.passed is passes
    assert failed(report) == ([] if passes else ["shrink"])
    assert gate(generation, [catalogue.fused], previous=previous, max_shrink=0.9).passed


def test_vectors_of_another_build(opened: Callable) -> None:
    catalogue, generation = opened(300)
    assert failed(gate(generation, [catalogue.fused[:-1]])) == ["count"]
    catalogue.fused[3] = np.nan
    assert failed(gate(generation, [catalogue.fused])) == ["unusable"]


def test_an_empty_generation_never_goes_live(catalogue: Callable) -> None:
    made = catalogue(20, (0.5, 0.5))
    empty = Generation(index.build([], 32, 0), made.items.slice(0, 0), made.build(count=0))
    assert failed(gate(empty, [])) == ["count"]


def test_a_single_product(catalogue: Callable) -> None:
    made = catalogue(20, (0.5, 0.5))
    one = Generation(index.build([made.fused[:1]], 32, 1), made.items.slice(0, 1), made.build(count=1))
    assert gate(one, [made.fused[:1]]).passed


def test_the_same_seed_gives_the_same_report(opened: Callable) -> None:
    catalogue, generation = opened(1000, factory="IVF16,Flat", nprobe=3)
    assert gate(generation, [catalogue.fused], seed=1) == gate(generation, [catalogue.fused], seed=1)
