"""What each anchor of a survey says of a system: the values behind every ranked figure."""

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
    """A measure of one system, anchor by anchor; float64[a] unless said otherwise.

    Attributes:
        anchor_ids: the anchors that have a value.
        places: int64[a], their places in `Judged.sample`.
        values: from 0 to 1.
        weights: how many anchors of the population each stands for.
        sizes: how much an anchor counts beside its weight: the products behind it for precision; 1 for
            all others, but for P@k with an estimated part near 1, since what was drawn of a list stands
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


def anchor_values(judged: Judged, system: str, measure: Measure, variant: str) -> AnchorValues:
    """The values of `measure` for the anchors of the survey.

    Variants:
        judged: unjudged products are taken out of the list and the rest moves up (condensed lists: Sakai,
            SIGIR 2007). Where rank bands were sub-sampled this favours the first ranks, so see pooled.
        pooled: a judged product stands for the pooled ones of its rank band (`Pool.stands_for`). How well
            that is estimated, and what has to be judged for it, each measure tells.
        pessimistic: unjudged products count as not the same.
    With all products judged the three are the same, and trec_eval's.

    An anchor without a verdict has no value (but 0 where no system found anything for it). The others of
    its stratum stand for it, which takes non-answers to be at random among the anchors of a stratum; for
    "pooled" also among the products of an anchor's rank band.

    Raises: InputError for an unknown system or variant, a variant that the measure doesn't have, and a
    cut-off beyond the pooled depth.
    """
    judged.lists(system)  # an unknown system is told of first
    k = measure.cutoff or judged.depth
    if measure.cutoff and not judged.covers(k):
        raise InputError(
            f"{measure} can't be told: products beyond rank {judged.depth} were never asked about; "
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
    """The anchors that have a value; those of a stratum stand for the ones too little is known of."""
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
    else:  # what drawing pairs adds isn't known apart: counting anchors as from an endless population does
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
