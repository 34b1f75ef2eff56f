"""What each anchor of a survey says of a system: the values behind every ranked figure."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmprod.eval.estimate import Estimate, Floats, Ints, share
from mmprod.eval.figures.judged import Frame, Judged
from mmprod.eval.figures.pooled import estimated
from mmprod.eval.figures.ranked import Counted, counted
from mmprod.storage.errors import InputError

Variant = Literal["judged", "pooled", "pessimistic"]
VARIANTS: tuple[Variant, ...] = ("judged", "pooled", "pessimistic")
"""How unjudged products count: taken out of the list, estimated, as not the same."""


@dataclass(frozen=True)
class AnchorValues:
    """A measure of one system, anchor by anchor; float64[a] unless said otherwise.

    Attributes:
        anchor_ids: the anchors that have a value.
        places: int64[a], their places in `Judged.frame`.
        values: from 0 to 1.
        weights: how many anchors of the population each stands for.
        sizes: how much an anchor counts beside its weight: the products behind it for "precision"; 1 for
            all others, but for "P@k" with an estimated part near 1, since what was drawn of a list stands
            for a little more or less than it. The figure is Σ weights·sizes·values / Σ weights·sizes.
        strata: int64[a].
        population: anchors there are in the stratum; inf where the finite correction would be too much.
        within: float64[a, 3], what drawing pairs within the anchor adds, as `estimate.mean` takes it.
        unknown: the part of the anchor's products that has no verdict, likewise.
        left_out: anchors of the survey without a value.
    """

    anchor_ids: list[str]
    places: Ints
    values: Floats
    weights: Floats
    sizes: Floats
    strata: Ints
    population: Floats
    within: Floats
    unknown: Floats
    left_out: int

    def share(self, part: NDArray[np.bool_] | slice = slice(None)) -> Estimate:
        """The figure over the anchors of `part` (bool[a], all of them unless given) and its interval."""
        return share(
            self.values[part],
            (self.weights * self.sizes)[part],
            self.places[part],
            self.strata[part],
            self.population[part],
            self.within[part],
            self.unknown[part],
        )


def anchor_values(judged: Judged, system: str, measure: str, variant: str) -> AnchorValues:
    """The values of `measure` for the anchors of the survey.

    Measures:
        precision: same products among all that the system found down to the depth that was pooled.
        P@k: same among the first k, over k, also where the list is shorter.
        AP@k: Σ precision at r over the ranks r up to k with a same product, over R, the same products of
            the anchor among all systems' candidates down to the pooled depth; 0 where R is 0.
        R@k: same among the first k over R. Anchors with R = 0 have no value.
        Success@k: whether there is a same product among the first k.

    Variants:
        judged: unjudged products are taken out of the list and the rest moves up (condensed lists: Sakai,
            SIGIR 2007); a list that is then too short for P@k is divided by its length. Where rank bands
            were sub-sampled this favours the first ranks, so see pooled.
        pooled: a judged product stands for the pooled ones of its rank band (`figures.pooled`). Anchors
            with a rank band without verdict have no value, for AP@k nor those with one of several;
            Success@k has a value where all of the first k are judged. "precision" and P@k are unbiased;
            AP@k and R@k divide by an estimated R, which makes them too low where little of a band was
            drawn: AP@10 by about 0.02 in simulated surveys with two of seven, 0.1 with two of fifteen.
        pessimistic: unjudged products count as not the same.
    With all products judged the three are the same, and trec_eval's.

    An anchor without a verdict has no value (but 0 where no system found anything for it). The others of
    its stratum stand for it, which takes non-answers to be at random among the anchors of a stratum; for
    "pooled" also among the products of an anchor's rank band.

    Raises: InputError for an unknown system, measure or variant, and a k beyond the pooled depth.
    """
    name, k = parse(measure)
    lists = judged.lists(system)
    if k and not judged.covers(k):
        raise InputError(
            f"{measure} can't be told: products beyond rank {judged.depth} were never asked about; "
            f"draw pairs down to rank {k} of all systems together"
        )
    if variant == "pooled":
        return _weighted(judged.frame, estimated(judged, lists, name, k or judged.depth))
    if variant not in VARIANTS:
        raise InputError(f"variant {variant!r} is unknown; there are {', '.join(VARIANTS)}")
    return _weighted(judged.frame, counted(judged, lists, name, k or judged.depth, variant == "judged"))


def parse(measure: str) -> tuple[str, int]:
    """ "P@10" as ("P", 10), "precision" as ("precision", 0). Raises: InputError for anything else."""
    name, _, cutoff = measure.partition("@")
    if measure == "precision":
        return measure, 0
    if name in ("P", "AP", "R", "Success") and cutoff.isascii() and cutoff.isdigit() and int(cutoff) > 0:
        return name, int(cutoff)
    raise InputError(f"measure {measure!r} is unknown; write precision, P@10, AP@10, R@10 or Success@1")


def _weighted(frame: Frame, raw: Counted) -> AnchorValues:
    """The anchors that have a value; those of a stratum stand for the ones too little is known of."""
    strata = len(frame.categories) * len(frame.bands)
    all_ = np.bincount(frame.stratum, frame.weight, strata)
    answered = np.bincount(frame.stratum, frame.weight * raw.valid, strata)
    places = np.flatnonzero(raw.valid & (raw.size > 0))
    stratum = frame.stratum[places]
    weights = frame.weight[places] * (all_ / np.where(answered > 0, answered, 1))[stratum]
    population, within = frame.population[places], np.zeros((len(places), 3))
    unknown = np.zeros(len(places))
    if raw.within is not None and raw.unknown is not None:
        within = raw.within[places] * weights[:, None] ** 2
        unknown = raw.unknown[places]
    else:  # what drawing pairs adds isn't known apart: counting anchors as from an endless population does
        guessed = np.bincount(frame.stratum[raw.valid & ~raw.exact], minlength=strata) > 0
        population = np.where(guessed[stratum], np.inf, population)
    values = raw.above[places] / np.where(raw.below[places] > 0, raw.below[places], 1)
    return AnchorValues(
        [frame.ids[place] for place in places],
        places,
        np.clip(values, 0, 1),
        weights,
        raw.size[places],
        stratum,
        population,
        within,
        unknown,
        len(frame.ids) - len(places),
    )
