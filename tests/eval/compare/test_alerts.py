import numpy as np
import pyarrow as pa
import pytest

from mmprod.datasets.schemas import METRIC
from mmprod.eval.compare.alerts import Rule, alerts
from mmprod.eval.estimate import wilson
from mmprod.storage.errors import InputError

ANY = Rule("precision", "category", None, "same_item", 0.03)


def metrics(values, facet="category", measure="precision", variant="pooled", system="same_item"):
    """METRIC from (value, low, high) by scope."""
    rows = [
        {"system": system, "facet": facet, "scope": scope, "measure": measure, "variant": variant}
        | dict(zip(("value", "low", "high"), figure, strict=True))
        | {"n": 100}
        for scope, figure in values.items()
    ]
    return pa.Table.from_pylist(rows, schema=METRIC)


def test_a_significant_fall_is_told_in_words():
    before = metrics({"lamps": (0.9, 0.88, 0.92), "bags": (0.8, 0.7, 0.88)})
    after = metrics({"lamps": (0.85, 0.83, 0.87), "bags": (0.75, 0.65, 0.83)})  # as far, but may be chance
    (alert,) = alerts(before, after, [ANY])
    assert (alert.scope, alert.before, alert.after) == ("lamps", 0.9, 0.85)
    # .05 over √(.02² + .02²) / 1.96 is 3.46 standard errors: one-sided p .00027, times two scopes.
    assert alert.p == pytest.approx(2 * 0.000267, rel=0.01)
    assert alert.text == (
        "same_item: precision in lamps fell from 90.0 % to 85.0 %, by 5.0 points (limit 3; p < 0.001)"
    )


def test_the_near_sides_of_the_intervals_count():
    # The far sides are as wide as can be; only low of before and high of after say how near they come.
    before, after = metrics({"lamps": (0.9, 0.88, 1.0)}), metrics({"lamps": (0.85, 0.0, 0.87)})
    assert len(alerts(before, after, [ANY])) == 1


def test_too_small_a_fall_a_rise_and_a_fall_to_the_limit():
    sure = {
        name: (value, value - 0.001, value + 0.001) for name, value in (("a", 0.9), ("b", 0.5), ("c", 0.9))
    }
    after = {
        name: (value, value - 0.001, value + 0.001) for name, value in (("a", 0.88), ("b", 0.9), ("c", 0.87))
    }
    assert [alert.scope for alert in alerts(metrics(sure), metrics(after), [ANY])] == ["c"]


def test_rules_watch_their_own_figures_only():
    before = pa.concat_tables(
        [
            metrics({"lamps": (0.9, 0.89, 0.91)}),
            metrics({"all": (0.9, 0.89, 0.91)}, facet="all", measure="P@10"),
        ]
    )
    after = pa.concat_tables(
        [
            metrics({"lamps": (0.5, 0.49, 0.51)}),
            metrics({"all": (0.5, 0.49, 0.51)}, facet="all", measure="P@10"),
        ]
    )
    whole = Rule("P@10", "all", None, "same_item", 0.03)
    (alert,) = alerts(before, after, [whole])
    assert "P@10 over all fell" in alert.text
    assert [a.rule for a in alerts(before, after, [ANY, whole])] == [ANY, whole]
    lamps = Rule("precision", "category", "lamps", "same_item", 0.03)
    assert len(alerts(before, after, [lamps])) == 1


def test_figures_without_interval_or_partner_raise_no_alarm():
    before = metrics({"lamps": (0.9, None, None), "bags": (0.9, 0.89, 0.91)})
    after = metrics({"lamps": (0.5, 0.4, 0.6), "toys": (0.5, 0.49, 0.51)})
    assert alerts(before, after, [ANY]) == []
    assert alerts(METRIC.empty_table(), METRIC.empty_table(), [ANY]) == []  # nothing judged yet


def test_exactly_known_figures_fall_for_certain():
    (alert,) = alerts(metrics({"lamps": (0.9, 0.9, 0.9)}), metrics({"lamps": (0.5, 0.5, 0.5)}), [ANY])
    assert alert.p == 0


def test_a_rule_that_watches_nothing_is_refused():
    figures = metrics({"lamps": (0.9, 0.88, 0.92)})
    for rule in (
        Rule("precison", "category", None, "same_item", 0.03),
        Rule("precision", "category", "lumps", "same_item", 0.03),
        Rule("precision", "sales", None, "same_item", 0.03),
    ):
        with pytest.raises(InputError, match="watches nothing; there are precision of category 'lamps'"):
            alerts(figures, figures, [rule])
    with pytest.raises(InputError, match="drop is 0, want more"):
        alerts(figures, figures, [Rule("precision", "category", None, "same_item", 0)])


@pytest.mark.slow
def test_false_alarms_and_power_in_simulation():
    random, rounds, pairs = np.random.default_rng(8), 600, 400
    scopes = [f"c{i}" for i in range(10)]

    def week(truth):
        shares = {name: random.binomial(pairs, truth[name]) / pairs for name in scopes}
        return metrics({name: (value, *wilson(value, pairs)) for name, value in shares.items()})

    steady = dict.fromkeys(scopes, 0.9)
    fallen = steady | {"c3": 0.8}
    small = Rule("precision", "category", None, "same_item", 0.001)  # so that chance alone decides
    false = sum(bool(alerts(week(steady), week(steady), [small])) for _ in range(rounds))
    found = sum(
        "c3" in [a.scope for a in alerts(week(steady), week(fallen), [ANY])] for _ in range(rounds // 4)
    )
    assert false / rounds < 0.05 + 3 * np.sqrt(0.05 * 0.95 / rounds)
    assert found / (rounds // 4) > 0.85
