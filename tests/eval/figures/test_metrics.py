import numpy as np
import pytest

from mmprod.datasets.schemas import METRIC, check
from mmprod.eval.figures.metrics import figures
from mmprod.eval.measures.named import parse


def test_every_system_scope_and_variant_has_its_figure(catalogue_of):
    sizes = {("x", "top"): 20, ("x", "rest"): 200, ("y", "rest"): 100}
    judged = catalogue_of(sizes, [0.9, 0.5, 0.2], systems=2).survey(
        np.random.default_rng(0), 30, answered=0.8
    )
    table = figures(judged, [parse("precision"), parse("P@5")])
    check(table, METRIC, "metrics")
    rows = {
        tuple(r[k] for k in ("system", "facet", "scope", "measure", "variant")): r for r in table.to_pylist()
    }
    scopes = [("all", "all"), ("category", "x"), ("category", "y"), ("sales", "rest"), ("sales", "top")]
    assert set(rows) == {
        (system, *scope, *measure)
        for system in ("s0", "s1")
        for scope in scopes
        for measure in [("judged", "")]
        + [(m, v) for m in ("precision", "P@5") for v in ("judged", "pooled", "pessimistic")]
    }
    for key, row in rows.items():
        if key[3] == "judged":
            assert row["low"] is None and row["high"] is None and 0 < row["value"] < 1
        else:
            assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1 and row["n"] > 0
    for system in ("s0", "s1"):
        worst, best = (rows[system, "all", "all", "P@5", v] for v in ("pessimistic", "pooled"))
        assert worst["value"] < best["value"]


def test_weights_count_by_hand(judged_of):
    """Category c stands for 6,000 anchors, d for 3,000; all of them in one population of 9,000."""
    found = {"s": {"a": ["x", "y"], "b": ["x", "y"], "e": ["x"]}}
    same = {"a/x": True, "a/y": False, "b/x": True, "b/y": True, "e/x": False}
    rows = figures(
        judged_of(found, same, category={"e": "d"}), [parse("precision"), parse("P@2")]
    ).to_pylist()
    values = {(r["scope"], r["measure"]): r["value"] for r in rows if r["variant"] in ("", "pooled")}
    assert values == pytest.approx(
        {
            ("all", "precision"): 3 / 5,
            ("c", "precision"): 3 / 4,
            ("d", "precision"): 0,
            ("b", "precision"): 3 / 5,  # the sales band
            ("all", "P@2"): (1 / 2 + 1 + 0) / 3,
            ("c", "P@2"): 3 / 4,
            ("d", "P@2"): 0,
            ("b", "P@2"): 1 / 2,
            **{(scope, "judged"): 1 for scope in ("all", "c", "d", "b")},
        }
    )


def test_nothing_judged_gives_the_coverage_alone(judged_of):
    rows = figures(judged_of({"s": {"a": ["x"]}}, {}), [parse("precision"), parse("P@1")]).to_pylist()
    assert {(r["measure"], r["value"], r["n"]) for r in rows} == {("judged", 0.0, 1)}
