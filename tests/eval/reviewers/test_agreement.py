from dataclasses import astuple

import numpy as np
import pytest

from mmprod.eval.reviewers.agreement import COHEN, agreement, cohen_table


def rated(judgements, columns):
    """Judgements from what each reviewer says of pairs 0, 1, …: "1", "0" or "." for no answer."""
    return judgements(
        *[
            (f"p{i}", name, int(label))
            for name, row in columns.items()
            for i, label in enumerate(row)
            if label != "."
        ]
    )


def test_two_observers_of_krippendorff(judgements):
    # K. Krippendorff, Computing Krippendorff's alpha-reliability (2011), A: binary data, two observers.
    found = agreement(rated(judgements, {"meg": "0100000000", "owen": "1110010010"}))
    assert found.pairs == 10 and found.reviewers == 2 and found.observed == pytest.approx(0.6)
    assert found.alpha == pytest.approx(0.095, abs=5e-4)


def test_cohens_kappa_of_a_grant_panel(judgements):
    # The textbook table: 20 both yes, 5 and 10 divided, 15 both no: κ = (.7 - .5) / (1 - .5).
    a, b = "1" * 20 + "1" * 5 + "0" * 10 + "0" * 15, "1" * 20 + "0" * 5 + "1" * 10 + "0" * 15
    found = agreement(rated(judgements, {"a": a, "b": b}))
    assert found.cohen == pytest.approx(0.4) and found.observed == pytest.approx(0.7)


def test_fleiss_kappa_by_hand_over_the_pairs_with_the_commonest_number_of_answers(judgements):
    # Three answers to four pairs: 3+0, 2+1, 0+3, 1+2. P̄ = (1 + 1/3 + 1 + 1/3)/4 = 2/3, P_e = 1/2.
    rows = {"a": "1110" + "11.", "b": "1100" + "01.", "c": "1000" + "..."}
    found = agreement(rated(judgements, rows))
    assert found.fleiss == pytest.approx(1 / 3) and found.fleiss_pairs == 4
    assert found.pairs == 6


def test_equal_to_the_reference_libraries_with_gaps(judgements):
    import krippendorff
    from sklearn.metrics import cohen_kappa_score

    random = np.random.default_rng(3)
    truth = random.random(200) < 0.6
    said = np.where(random.random((4, 200)) < 0.8, truth, ~truth).astype(float)
    said[random.random((4, 200)) < 0.4] = np.nan
    names = ("ann", "bo", "cy", "di")
    rows = {
        n: "".join("." if np.isnan(v) else str(int(v)) for v in row)
        for n, row in zip(names, said, strict=True)
    }
    table = rated(judgements, rows)
    assert agreement(table).alpha == pytest.approx(
        krippendorff.alpha(reliability_data=said, level_of_measurement="nominal")
    )
    kappas = cohen_table(table)
    assert kappas.schema == COHEN and kappas.num_rows == 6
    for row in kappas.to_pylist():
        one, other = said[names.index(row["reviewer"])], said[names.index(row["other"])]
        both = ~np.isnan(one) & ~np.isnan(other)
        assert row["pairs"] == both.sum() and row["observed"] == np.mean(one[both] == other[both])
        assert row["kappa"] == pytest.approx(cohen_kappa_score(one[both], other[both]))
    pairs = kappas["pairs"].to_numpy()
    assert agreement(table).cohen == pytest.approx(np.average(kappas["kappa"].to_numpy(), weights=pairs))


def test_undefined_is_none_and_never_nan(judgements):
    assert astuple(agreement(judgements())) == (0, 0, None, None, None, 0, None)
    alone = agreement(rated(judgements, {"a": "1010"}))
    assert astuple(alone) == (0, 0, None, None, None, 0, None)
    alike = agreement(rated(judgements, {"a": "111", "b": "111"}))
    assert astuple(alike) == (3, 2, 1.0, None, None, 3, None)
    assert cohen_table(rated(judgements, {"a": "111", "b": "111"}))["kappa"].to_pylist() == [None]
    assert cohen_table(rated(judgements, {"a": "1.", "b": ".1"})).num_rows == 0


def test_one_who_always_says_the_same_agrees_by_chance_alone(judgements):
    assert agreement(rated(judgements, {"a": "1111", "b": "1010"})).cohen == pytest.approx(0)


def test_repeats_are_left_out_and_corrections_replace(judgements):
    table = judgements(("p", "a", 0, 1), ("p", "a", 1, 2), ("p", "b", 1, 1), ("p", "b", 0, 9, True))
    assert agreement(table).observed == 1.0
