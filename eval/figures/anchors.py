"""The values of measures at each anchor of a survey, from which the figures are computed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmprod.eval.estimate import Estimate, Floats, Ints, share
from mmprod.eval.judged import Judged
from mmprod.eval.judged_arrays import Sample
from mmprod.eval.measures.counted_lists import CountedLists, Fractions
from mmprod.eval.measures.measure import VARIANTS, EstimatedMeasure, Measure
from mmprod.eval.measures.sampled_lists import SampledLists
from mmprod.storage.errors import InputError


@dataclass(frozen=True)
class AnchorValues:
    """A measure of one system, anchor by anchor; arrays are float64[a] unless stated otherwise.

    Attributes:
        anchor_ids: the anchors that have a value.
        places: int64[a], their indices in `Judged.sample`.
        values: from 0 to 1.
        weights: how many anchors of the population each represents.
        sizes: a factor in addition to the weight: for precision the number of products; for estimated P@k
            about 1, as the products drawn represent slightly more or less than k places; for others 1. The
            figure is Σ weights·sizes·values / Σ weights·sizes.
        strata: int64[a].
        population: number of anchors in the stratum; inf where a finite correction would be too large.
        within: float64[a, 3], variance from drawing pairs within the anchor, as in `estimate.mean`.
        unknown: share of the anchor's products without a verdict, as in `estimate.mean`.
        left_out: number of anchors of the survey without a value.
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
        """The figure over the anchors of `part` (bool[a]; default: all) with its interval."""
        return share(
            self.values[part],
            (self.weights * self.sizes)[part],
            self.places[part],
            self.strata[part],
            self.population[part],
            self.within[part],
            self.unknown[part],
        )


def anchor_values(judged: Judged, system: str, measure: Measure, variant: str) -> AnchorValues:
    """The values of `measure` for the anchors of the survey.

    Variants:
        judged: unjudged products are removed from the list and the others move up (condensed lists: Sakai,
            SIGIR 2007). If rank bands were sub-sampled this favours the first ranks; use pooled.
        pooled: a judged product represents the pooled ones of its rank band (`Pool.stands_for`). Each
            measure documents the quality of that estimate and which verdicts it needs.
        pessimistic: unjudged products count as not the same.
    If all products are judged, the three are equal to each other and to trec_eval.
    An anchor without a verdict has no value (but 0 if no system found anything for it). The other anchors
    of its stratum represent it, which assumes that answers are missing at random within a stratum; for
    "pooled" also within an anchor's rank band.
    Raises: InputError for an unknown system or variant, a variant that the measure doesn't have, and a
    cut-off beyond the pooled depth.
    """
    judged.lists(system)  # raises for an unknown system
    k = measure.cutoff or judged.depth
    if measure.cutoff and not judged.covers(k):
        raise InputError(
            f"{measure} can't be computed: products beyond rank {judged.depth} were never asked about; "
            f"draw pairs down to rank {k} of all systems together"
        )
    if variant not in VARIANTS:
        raise InputError(f"variant {variant!r} is unknown; there are {', '.join(VARIANTS)}")
    if variant != "pooled":
        counted = CountedLists.of(judged, system, condensed=variant == "judged")
        return _weighted(judged.sample, measure.counted(counted, k))
    if isinstance(measure, EstimatedMeasure):
        return _weighted(judged.sample, measure.estimated(SampledLists.of(judged, system), k))
    raise InputError(
        f"{measure} can't be estimated from a part of the products; it is {' or '.join(measure.variants)}"
    )


def _weighted(sample: Sample, raw: Fractions) -> AnchorValues:
    """The anchors that have a value, with weights that also represent the anchors without one."""
    strata = len(sample.categories) * len(sample.bands)
    all_ = np.bincount(sample.stratum, sample.weight, strata)
    answered = np.bincount(sample.stratum, sample.weight * raw.valid, strata)
    places = np.flatnonzero(raw.valid & (raw.size > 0))
    stratum = sample.stratum[places]
    weights = sample.weight[places] * (all_ / np.where(answered > 0, answered, 1))[stratum]
    population, within = sample.population[places], np.zeros((len(places), 3))
    unknown = np.zeros(len(places))
    if raw.within is not None and raw.unknown is not None:
        within = raw.within[places] * weights[:, None] ** 2
        unknown = raw.unknown[places]
    else:  # the variance of drawing pairs is unknown: an infinite population covers it
        guessed = np.bincount(sample.stratum[raw.valid & ~raw.exact], minlength=strata) > 0
        population = np.where(guessed[stratum], np.inf, population)
    values = raw.above[places] / np.where(raw.below[places] > 0, raw.below[places], 1)
    return AnchorValues(
        [sample.ids[place] for place in places],
        places,
        np.clip(values, 0, 1),
        weights,
        raw.size[places],
        stratum,
        population,
        within,
        unknown,
        len(sample.ids) - len(places),
    )
