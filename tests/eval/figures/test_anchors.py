import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmprod.eval.figures.anchors import anchor_values
from mmprod.eval.measures.measure import VARIANTS
from mmprod.eval.measures.named import parse
from mmprod.eval.runs import ranked_scores
from mmprod.storage.errors import InputError

MEASURES = ("P@1", "P@3", "P@10", "AP@3", "AP@10", "R@3", "R@10", "Success@1", "Success@3")

lists = st.dictionaries(
    st.sampled_from("abcde"), st.lists(st.sampled_from("tuvwxyz"), unique=True, max_size=7), min_size=1
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_with_all_judged_every_variant_is_trec_evals_number(judged_of, data):
    """Two systems over the same anchors; a system without an answer to an anchor gets 0 for it."""
    found = {"one": data.draw(lists), "two": data.draw(lists)}
    asked = {f"{a}/{p}" for each in found.values() for a, products in each.items() for p in products}
    if not asked or not all(any(each.values()) for each in found.values()):
        return
    same = {name: data.draw(st.booleans()) for name in sorted(asked)}
    judged = judged_of(found, same)
    relevant = {
        a: {name[2:] for name, yes in same.items() if yes and name[0] == a} for a in judged.sample.ids
    }
    for system, ranked in found.items():
        scores = ranked_scores(ranked, relevant, MEASURES)
        for measure in MEASURES:
            wanted = dict(zip(scores.queries, scores.values[measure], strict=True))
            if measure[0] == "R":
                wanted = {a: value for a, value in wanted.items() if relevant[a]}
            for variant in VARIANTS:
                values = anchor_values(judged, system, parse(measure), variant)
                got = dict(zip(values.anchor_ids, values.values, strict=True))
                assert got == pytest.approx(wanted), (measure, variant)
                assert (values.sizes == 1).all() and not values.within.any()
                if wanted:
                    assert values.share().value == pytest.approx(np.mean(list(wanted.values())))


@pytest.fixture
def partly(judged_of):
    """Anchor a: five products, of which u and x have no verdict; b: none has; c: nothing was found."""
    found = {"s": {"a": ["t", "u", "v", "w", "x"], "b": ["t", "u"]}}
    return judged_of(found, {"a/t": True, "a/v": False, "a/w": True}, anchors="abc")


@pytest.mark.parametrize(
    ("measure", "variant", "value"),
    [
        ("P@2", "judged", 1 / 2),  # t and v
        ("P@3", "judged", 2 / 3),  # t, v and w moved up
        ("P@5", "judged", 2 / 3),  # no more than three are known
        ("P@6", "judged", 2 / 4),  # the sixth place is empty, and known to be
        ("P@2", "pessimistic", 1 / 2),
        ("P@5", "pessimistic", 2 / 5),
        ("P@5", "pooled", 2 / 3),
        ("P@10", "pooled", (2 * 5 / 3) / 10),
        ("AP@5", "judged", (1 + 2 / 3) / 2),
        ("AP@5", "pessimistic", (1 + 2 / 4) / 2),
        # w at rank 4: itself and three above, of which half of those judged are the same; R is 2 · 5/3
        ("AP@5", "pooled", (5 / 3 * 1 + 5 / 3 * (1 + 3 / 2) / 4) / (2 * 5 / 3)),
        ("R@2", "judged", 1 / 2),
        ("R@3", "pessimistic", 1 / 2),
        ("R@3", "pooled", 1 / 2),
        ("Success@1", "pooled", 1),
        ("precision", "judged", 2 / 3),
        ("precision", "pooled", 2 / 3),
        ("precision", "pessimistic", 2 / 5),
    ],
)
def test_unjudged_products_by_hand(partly, measure, variant, value):
    values = anchor_values(partly, "s", parse(measure), variant)
    assert dict(zip(values.anchor_ids, values.values, strict=True))["a"] == pytest.approx(value)
    assert "b" not in values.anchor_ids  # nothing is known of it
    assert ("c" in values.anchor_ids) == (measure[0] not in "Rp")  # 0 is known of P, AP and Success
    assert values.left_out == 3 - len(values.anchor_ids)


def test_the_others_of_a_stratum_stand_for_an_anchor_without_verdict(partly):
    values = anchor_values(partly, "s", parse("P@5"), "pessimistic")
    assert values.anchor_ids == ["a", "c"]
    assert list(values.weights) == [4_500, 4_500]  # 3,000 each, and half of b's
    assert np.isinf(values.population).all()  # a is guessed in part: no finite correction
    assert list(anchor_values(partly, "s", parse("P@5"), "pooled").population) == [9_000, 9_000]


def test_success_has_no_value_where_a_product_is_unjudged(partly):
    assert anchor_values(partly, "s", parse("Success@2"), "pooled").anchor_ids == ["c"]


def test_what_drawing_pairs_adds_by_hand(partly):
    """a: 3 verdicts on 5, of them 2 the same: M² (1 - m/M) s²/m with s² = 1/3 at r = 0."""
    values = anchor_values(partly, "s", parse("precision"), "pooled")
    weight = values.weights[0] ** 2
    assert values.within[0] == pytest.approx(np.array([25 * 0.4 / 3 * (1 / 3), 0, 0]) * weight)
    top = anchor_values(partly, "s", parse("P@1"), "pooled")  # one of the three is in the list of one
    assert top.within[0] == pytest.approx(np.full(3, 25 * 0.4 / 3 * (1 - 1 / 3) / 2) * top.weights[0] ** 2)


@pytest.mark.parametrize(
    ("measure", "variant", "system", "message"),
    [
        ("P@0", "pooled", "s", "'P@0' is unknown; write"),
        ("P", "pooled", "s", "'P' is unknown"),
        ("P@1.5", "pooled", "s", "unknown"),
        ("P@²", "pooled", "s", "unknown"),
        ("nDCG@5", "pooled", "s", "unknown"),
        ("P@5", "hopeful", "s", "variant 'hopeful' is unknown; there are judged"),
        ("P@5", "pooled", "t", "no candidates of system 't'; there are s"),
    ],
)
def test_what_is_unknown_is_refused(partly, measure, variant, system, message):
    with pytest.raises(InputError, match=message):
        anchor_values(partly, system, parse(measure), variant)


def test_a_cut_off_beyond_what_was_drawn_is_refused(catalogue_of):
    catalogue = catalogue_of({("c", "b"): 50}, [0.5], systems=2)
    judged = catalogue.survey(np.random.default_rng(0), 20, bands=((3, 3), (6, 1)))
    assert judged.depth == 6
    assert anchor_values(judged, "s0", parse("P@6"), "pooled").share().n == 20
    with pytest.raises(InputError, match=r"P@7 can't be computed: products beyond rank 6"):
        anchor_values(judged, "s0", parse("P@7"), "pooled")


def test_ap_needs_two_verdicts_in_a_band_that_was_drawn_in_part(catalogue_of):
    catalogue = catalogue_of({("c", "b"): 50}, [0.5])
    rng = np.random.default_rng(0)
    one = anchor_values(catalogue.survey(rng, 20, ((3, 3), (10, 1))), "s0", parse("AP@10"), "pooled")
    two = anchor_values(catalogue.survey(rng, 20, ((3, 3), (10, 2))), "s0", parse("AP@10"), "pooled")
    assert (one.left_out, two.left_out) == (20, 0)
