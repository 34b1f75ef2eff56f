"""Measures as values: their names, and one more measure from its estimator to the figures."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from mmprod.eval.compare.paired import compare
from mmprod.eval.figures.anchors import anchor_values
from mmprod.eval.figures.metrics import figures
from mmprod.eval.measures import named
from mmprod.eval.measures.average_precision import AveragePrecision
from mmprod.eval.measures.measure import Measure
from mmprod.eval.measures.named import MEASURES, find, parse
from mmprod.eval.measures.precision import Precision
from mmprod.eval.measures.precision_at_k import PrecisionAtK
from mmprod.eval.measures.recall import Recall
from mmprod.eval.measures.success import Success
from mmprod.storage.errors import InputError

REVIEW_PAGE = Path(__file__).parents[3] / "docs" / "review.md"


@dataclass(frozen=True)
class ReciprocalRank(Measure):
    """One over the rank of the first same product among the first k, 0 without one."""

    kind: ClassVar[str] = "RR"
    meaning: ClassVar[str] = "How far up the first same product stands among the first {k}."

    def counted(self, lists, k):
        first = np.zeros(len(lists.ones))
        np.maximum.at(first, lists.anchor, lists.same * (lists.rank <= k) / lists.rank)
        return lists.fractions(first, lists.ones, lists.ones, k)


@pytest.mark.parametrize(
    ("measure", "name", "heading"),
    [
        (Precision(), "precision", "precision"),
        (PrecisionAtK(10), "P@10", "P@10"),
        (AveragePrecision(5), "AP@5", "mAP@5"),
        (Recall(100), "R@100", "recall@100"),
        (Success(1), "Success@1", "Success@1"),
    ],
)
def test_a_measure_is_printed_as_it_is_parsed(measure, name, heading):
    assert (str(measure), f"{measure}", measure.name, measure.heading) == (name, name, name, heading)
    assert parse(name) == measure and hash(parse(name)) == hash(measure)
    assert parse(name) != PrecisionAtK(3)


def test_every_measure_has_a_name_of_its_own():
    made = [each(7) if each.has_cutoff else each() for each in MEASURES]
    assert [parse(str(measure)) for measure in made] == made
    assert len({measure.kind for measure in made}) == len(made)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "P",
        "P@",
        "P@0",
        "P@-1",
        "P@1.5",
        "P@²",
        "P@1@2",
        "p@1",
        "AP",
        "precision@5",
        "precision@",
        "nDCG@5",
    ],
)
def test_an_unknown_name_is_refused_with_those_there_are(name):
    assert find(name) is None
    known = re.escape("write one of precision, P@k, AP@k, R@k, Success@k")
    with pytest.raises(InputError, match=f"measure {re.escape(repr(name))} is unknown; {known}"):
        parse(name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PrecisionAtK(), "P with a cut-off of None; want P@k"),
        (lambda: Recall(0), "R with a cut-off of 0; want R@k with k from 1"),
        (lambda: Precision(5), "precision has no cut-off, but 5 was given"),
    ],
)
def test_a_measure_with_a_wrong_cut_off_cannot_be_made(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.fixture
def partly(judged_of):
    """a: the first is not the same, the second unjudged, the third the same; b: the first is; e: none is."""
    found = {"a": ["t", "u", "v"], "b": ["t", "u", "v"], "e": ["t"]}
    same = {"a/t": False, "a/v": True, "b/t": True, "b/u": False, "b/v": False, "e/t": False}
    other = {"a": ["v", "u", "t"], "b": ["t", "u", "v"], "e": ["t"]}
    return judged_of({"s": found, "z": other}, same, category={"e": "d"})


def test_a_new_measure_goes_through_the_figures_by_hand(partly):
    rows = [r for r in figures(partly, [ReciprocalRank(3)]).to_pylist() if r["system"] == "s"]
    values = {(r["measure"], r["scope"], r["variant"]): (r["value"], r["n"]) for r in rows}
    found = {key[1:]: value for key, value in values.items() if key[0] == "RR@3"}
    assert found == {
        ("all", "judged"): (pytest.approx((1 / 2 + 1 + 0) / 3), 3),  # u is taken out, v moves up
        ("c", "judged"): (pytest.approx((1 / 2 + 1) / 2), 2),
        ("d", "judged"): (0, 1),
        ("b", "judged"): (pytest.approx((1 / 2 + 1 + 0) / 3), 3),  # the sales band
        ("all", "pessimistic"): (pytest.approx((1 / 3 + 1 + 0) / 3), 3),
        ("c", "pessimistic"): (pytest.approx((1 / 3 + 1) / 2), 2),
        ("d", "pessimistic"): (0, 1),
        ("b", "pessimistic"): (pytest.approx((1 / 3 + 1 + 0) / 3), 3),
    }
    assert values["judged", "all", ""] == (pytest.approx(6 / 7), 7)  # down to rank 3, the cut-off
    short = anchor_values(partly, "s", ReciprocalRank(2), "pessimistic")
    assert list(short.values) == [0, 1, 0]


def test_a_measure_without_an_estimator_says_so(partly, caplog):
    with pytest.raises(InputError, match=r"RR@3 can't be estimated .* it is judged or pessimistic"):
        anchor_values(partly, "s", ReciprocalRank(3), "pooled")
    with caplog.at_level(logging.WARNING):
        found = compare(partly, "s", "z", [ReciprocalRank(3), PrecisionAtK(1)]).to_pylist()
    assert {row["measure"] for row in found} == {"P@1"}
    assert "RR@3 has no pooled value, so it is not compared" in caplog.text
    with pytest.raises(InputError, match="variant 'hopeful' is unknown"):
        compare(partly, "s", "z", [ReciprocalRank(3)], "hopeful")


def test_a_measure_without_an_estimator_is_compared_in_its_other_variants(partly):
    row = compare(partly, "s", "z", [ReciprocalRank(3)], "pessimistic").to_pylist()[0]
    assert (row["measure"], row["n"]) == ("RR@3", 3)
    assert row["difference"] == pytest.approx((1 - 1 / 3) / 3)  # z has the same product of a on top


def test_naming_a_measure_makes_it_known(monkeypatch):
    monkeypatch.setattr(named, "MEASURES", (*MEASURES, ReciprocalRank))
    assert parse("RR@3") == ReciprocalRank(3)
    with pytest.raises(InputError, match="Success@k, RR@k"):
        parse("RR")


@pytest.mark.parametrize("kind", MEASURES, ids=lambda kind: kind.kind)
def test_the_formula_of_a_measure_is_the_one_in_the_docs(kind):
    (formula,) = re.findall(r"^ {4,}(\S+ = .*)$", kind.__doc__, re.MULTILINE)
    assert formula.startswith(f"{kind.kind}@k = " if kind.has_cutoff else f"{kind.kind} = ")
    assert formula in REVIEW_PAGE.read_text("utf-8")
