import numpy as np
import pyarrow as pa
import pytest

from mmprod.datasets.schemas import ANCHOR, CANDIDATE, PAIR
from mmprod.eval.fusion_weights import LEAST, WEIGHTS, fit_weights
from mmprod.eval.judged import Judged
from mmprod.storage.errors import InputError


def table(columns, schema):
    arrays = [pa.array(column).cast(field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def survey(anchors, planted, seed=0, k=5, noise=0.1):
    """A survey of `anchors` anchors in each category, of which a pair is the same where
    w·image + (1-w)·text, w as `planted` for the category, and some noise come above a bound."""
    random = np.random.default_rng(seed)
    names = [f"{category}{i}" for category in planted for i in range(anchors)]
    category = [name for name in planted for _ in range(anchors)]
    anchor = np.repeat(names, k)
    image, text = random.random((2, len(anchor)))
    weight = np.repeat([planted[name] for name in category], k)
    meant = weight * image + (1 - weight) * text + random.normal(0, noise, len(anchor))
    rank = np.tile(np.arange(1, k + 1), len(names))
    product = np.char.add(anchor, np.char.add("/", rank.astype(str)))
    count, ones = len(names), np.ones(len(anchor))
    facts = [
        names,
        pa.nulls(count, pa.string()),
        category,
        ["b"] * count,
        [anchors * 10] * count,
        [10.0] * count,
    ]
    return Judged(
        table(facts, ANCHOR),
        table([["s"] * len(anchor), anchor, product, rank, (image + text) / 2, image, text], CANDIDATE),
        table([product, anchor, product, rank, ones, ones], PAIR),
        dict(zip(product.tolist(), (meant > 0.5).tolist(), strict=True)),
    )


def test_a_planted_weighting_is_found_by_category():
    found = fit_weights(survey(200, {"bags": 0.9, "lamps": 0.2}), "s")
    assert found.schema == WEIGHTS
    rows = {row["scope"]: row for row in found.to_pylist()}
    assert list(rows) == ["all", "bags", "lamps"]
    assert rows["bags"]["image_weight"] == pytest.approx(0.9, abs=0.1)
    assert rows["lamps"]["image_weight"] == pytest.approx(0.2, abs=0.1)
    for name in ("bags", "lamps"):
        row = rows[name]
        assert row["advised"] == row["image_weight"] and row["gain_1_1_low"] > 0
        assert row["low"] < row["auc"] < row["high"] and row["auc"] > row["auc_1_1"]
    assert (rows["all"]["pairs"], rows["all"]["anchors"]) == (2_000, 400)


@pytest.mark.parametrize(("planted", "advised"), [(0.5, 0.5), (0.7, 0.7)])
def test_a_simple_weighting_as_good_is_kept(planted, advised):
    (row, _) = fit_weights(survey(300, {"bags": planted}, seed=3), "s").to_pylist()
    assert row["advised"] == advised and row[f"gain_{'1_1' if advised == 0.5 else '7_3'}_low"] <= 0


def test_the_threshold_reaches_the_wanted_precision_at_the_advised_weight():
    judged = survey(200, {"bags": 0.9})
    row = fit_weights(judged, "s", wanted=0.9).to_pylist()[1]
    image, text = (judged.candidates[name].to_numpy() for name in ("image_score", "text_score"))
    score = (row["advised"] * image + (1 - row["advised"]) * text).astype(np.float32)
    same = np.array([judged.same[name] for name in judged.candidates["product_id"].to_pylist()])
    above = score >= np.float32(row["threshold"])
    assert same[above].mean() == pytest.approx(row["precision"]) and row["precision"] >= 0.9
    assert row["precision_low"] < row["precision"]
    below = score[score < np.float32(row["threshold"])]
    assert all(same[score >= bound].mean() < 0.9 for bound in below)  # the smallest there is


def with_scores(judged, change):
    """With image and text scores float32[n] put through `change`."""
    candidates = judged.candidates
    for name in ("image_score", "text_score"):
        place = candidates.schema.get_field_index(name)
        column = pa.array(change(candidates[name].to_numpy()), pa.float32(), from_pandas=True)
        candidates = candidates.set_column(place, CANDIDATE.field(place), column)
    return Judged(judged.anchors, candidates, judged.pairs, judged.same)


def test_no_threshold_where_none_is_precise_enough():
    judged = survey(60, {"bags": 0.5})
    different = np.array([not judged.same[name] for name in judged.candidates["product_id"].to_pylist()])
    worst = int(np.flatnonzero(different)[0])
    judged = with_scores(judged, lambda scores: np.where(np.arange(len(scores)) == worst, 2, scores))
    row = fit_weights(judged, "s", wanted=1.0).to_pylist()[0]
    assert row["threshold"] is row["precision"] is row["precision_low"] is None


def test_pairs_without_a_score_are_left_out_and_small_categories_not_fitted():
    judged = with_scores(
        survey(50, {"bags": 0.8}), lambda scores: np.where(np.arange(len(scores)) % 5, scores, np.nan)
    )
    assert fit_weights(judged, "s")["pairs"][0].as_py() == 200
    few = survey(LEAST - 1, {"bags": 0.8, "lamps": 0.8})
    assert fit_weights(few, "s")["scope"].to_pylist() == ["all"]


def test_too_few_labels_and_unknown_systems_are_refused():
    few = survey(LEAST - 1, {"bags": 0.8})
    with pytest.raises(
        InputError, match=r"anchors have a same .* but fitting weights needs 10 of each: label more"
    ):
        fit_weights(few, "s")
    with pytest.raises(InputError, match="'t'"):
        fit_weights(few, "t")


def test_the_seed_decides():
    judged = survey(40, {"bags": 0.6})
    assert fit_weights(judged, "s", seed=1).equals(fit_weights(judged, "s", seed=1))


@pytest.mark.slow
def test_equal_weights_are_seldom_given_up_where_they_are_right():
    given_up = sum(
        fit_weights(survey(60, {"bags": 0.5}, seed=seed, noise=0.3), "s")["advised"][0].as_py() != 0.5
        for seed in range(60)
    )
    assert given_up <= 60 * 0.025 + 3 * np.sqrt(60 * 0.025)
