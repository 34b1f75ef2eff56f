"""Alerts: figures that have fallen significantly since the last evaluation."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mmprod.datasets.lazy import lazy
from mmprod.datasets.schemas import METRIC, check
from mmprod.eval.significance import holm
from mmprod.storage.errors import InputError

scipy = lazy("scipy")  # a second to import, and not needed for a first evaluation
Z = 1.959963984540054  # the 97.5 % point of the normal distribution
LEVEL = 0.05

_SMALLEST = 0.001  # p in messages


@dataclass(frozen=True)
class Rule:
    """A figure that must not fall.

    "same-item precision of each category, by 3 points" is Rule("precision", "category", None, "same_item",
    0.03).

    Attributes:
        measure, facet, system, variant: as in METRIC.
        scope: one scope of the facet; None for each of them.
        drop: the tolerated fall, above 0; .03 for 3 points.
    """

    measure: str
    facet: str
    scope: str | None
    system: str
    drop: float
    variant: str = "pooled"


@dataclass(frozen=True)
class Alert:
    """A figure that has fallen from `before` to `after`, with the adjusted p-value `p`."""

    rule: Rule
    scope: str
    before: float
    after: float
    p: float

    @property
    def text(self) -> str:
        """The alert as a sentence: the figure, both values and the p-value."""
        where = "over all" if self.rule.facet == "all" else f"in {self.scope}"
        was, now = 100 * self.before, 100 * self.after
        chance = f"p = {self.p:.3f}" if self.p >= _SMALLEST else f"p < {_SMALLEST}"
        return (
            f"{self.rule.system}: {self.rule.measure} {where} fell from {was:.1f} % to {now:.1f} %, "
            f"by {was - now:.1f} points (limit {100 * self.rule.drop:g}; {chance})"
        )


def alerts(before: pa.Table, after: pa.Table, rules: Sequence[Rule]) -> list[Alert]:
    """The alerts of two evaluations (METRIC each), in the order of the rules and then of the scopes.

    A figure causes an alert if it has fallen by at least `drop`, and significantly. p is one-sided, from the
    normal distribution. The standard error of the difference is combined from the facing sides of the two
    95 % intervals, √((value - low)² of before + (high - value)² of after) / 1.96 (Newcombe's hybrid,
    Statistics in Medicine 17, 1998), which is valid near 100 %, too. Holm's correction over the scopes of a
    rule limits false alarms to 5 % of evaluations for each rule.

    The two evaluations are treated as independent. Surveys that share anchors and judgements are positively
    correlated, so the true error of the difference is smaller: an alert comes late rather than wrongly. If
    both figures are of one survey, `paired.compare` is more sensitive. Figures without an interval, and those
    that only one evaluation has, cause no alert.

    Raises: InputError for other columns, a drop that isn't above 0, and a rule that matches no figure of
    either evaluation although they have others of its system and variant: it would never cause an alert.
    """
    check(before, METRIC, "figures before")
    check(after, METRIC, "figures after")
    old, new = _by_key(before), _by_key(after)
    return [alert for rule in rules for alert in _alerts(old, new, rule)]


class _Key(NamedTuple):
    """The key of a figure."""

    system: str
    facet: str
    scope: str
    measure: str
    variant: str


_Figures = dict[_Key, dict[str, Any]]


def _by_key(metrics: pa.Table) -> _Figures:
    return {_Key(*(row[name] for name in _Key._fields)): row for row in metrics.to_pylist()}


def _alerts(old: _Figures, new: _Figures, rule: Rule) -> Iterator[Alert]:
    if not rule.drop > 0:
        raise InputError(f"a rule's drop is {rule.drop}, want more than 0 (0.03 for 3 points)")
    pairs = [
        (old[key], new[key]) for key in _watched(old.keys() | new.keys(), rule) if key in old and key in new
    ]
    known = [(was, now) for was, now in pairs if was["low"] is not None and now["high"] is not None]
    adjusted = holm([float(scipy.stats.norm.sf(_fall(*pair))) for pair in known])
    for (was, now), p in zip(known, adjusted, strict=True):
        # The last digits of a difference of shares are noise: .9 - .87 is less than .03.
        if was["value"] - now["value"] >= rule.drop - 1e-12 and p <= LEVEL:
            yield Alert(rule, was["scope"], was["value"], now["value"], p)


def _watched(keys: Set[_Key], rule: Rule) -> list[_Key]:
    """The figures that match the rule, in order of scope."""
    told = {key for key in keys if (key.system, key.variant) == (rule.system, rule.variant)}
    alike = {key for key in told if (key.facet, key.measure) == (rule.facet, rule.measure)}
    found = sorted(key for key in alike if rule.scope in (None, key.scope))
    if told and not found:
        raise InputError(f"{rule} is about no figure and watches nothing; there are {_some(alike or told)}")
    return found


def _some(keys: Set[_Key]) -> str:
    return ", ".join(f"{key.measure} of {key.facet} {key.scope!r}" for key in sorted(keys)[:5])


def _fall(was: dict[str, Any], now: dict[str, Any]) -> float:
    """The fall in standard errors; inf if both figures are known exactly."""
    fall = was["value"] - now["value"]
    error = np.hypot(was["value"] - was["low"], now["high"] - now["value"]) / Z
    return float(fall / error) if error else float(np.inf * np.sign(fall)) if fall else 0.0
