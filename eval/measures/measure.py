"""The base classes of measures: name, cut-off, texts for reports, and computation."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from mmprod.eval.measures.counted_lists import CountedLists, Fractions
from mmprod.eval.measures.sampled_lists import SampledLists
from mmprod.storage.errors import InputError

Variant = Literal["judged", "pooled", "pessimistic"]
VARIANTS: tuple[Variant, ...] = ("judged", "pooled", "pessimistic")
"""What each variant does with unjudged products: removes them, estimates them, counts them as different."""


@dataclass(frozen=True)
class Measure(ABC):
    """A measure of ranked lists, from 0 to 1 at each anchor: ``PrecisionAtK(10)`` prints as ``P@10``.

    In the formulas y_r is 1 if the product at rank r is the same as the anchor, and 0 if it is not or if the
    list is shorter; n is the number of products the system found, R the number of same products of the
    anchor that any system found down to the pooled depth.

    Attributes:
        cutoff: k, the last rank that counts; None for a measure of whole lists, down to the pooled depth.
        kind: the name before the @.
        called: the name in reports, if it differs from `kind`.
        meaning: an explanation for reports; "{k}" stands for the cut-off.
        headline: whether reports show the first measure of this kind in large type.
        has_cutoff: whether it has a cut-off.
        variants: the ways in which unjudged products can count.

    Raises: InputError for a cut-off below 1, and for one that is missing or not allowed.
    """

    cutoff: int | None = None

    kind: ClassVar[str]
    called: ClassVar[str] = ""
    meaning: ClassVar[str]
    headline: ClassVar[bool] = False
    has_cutoff: ClassVar[bool] = True
    variants: ClassVar[tuple[Variant, ...]] = ("judged", "pessimistic")

    def __post_init__(self) -> None:
        if self.has_cutoff and (self.cutoff is None or self.cutoff < 1):
            raise InputError(f"{self.kind} with a cut-off of {self.cutoff}; want {self.kind}@k with k from 1")
        if not self.has_cutoff and self.cutoff is not None:
            raise InputError(f"{self.kind} has no cut-off, but {self.cutoff} was given")

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The name in settings and in METRIC: ``AP@10``."""
        return self.kind if self.cutoff is None else f"{self.kind}@{self.cutoff}"

    @property
    def heading(self) -> str:
        """The name in reports: ``mAP@10``."""
        return (self.called or self.kind) + self.name.removeprefix(self.kind)

    @abstractmethod
    def counted(self, lists: CountedLists, k: int) -> Fractions:
        """The value at each anchor, with every product counting as same or not.

        `k`: the cut-off, or the pooled depth for a measure without one.
        """


@dataclass(frozen=True)
class EstimatedMeasure(Measure):
    """A measure that can also be estimated if only a part of the lists was drawn and judged."""

    variants: ClassVar[tuple[Variant, ...]] = VARIANTS

    @abstractmethod
    def estimated(self, lists: SampledLists, k: int) -> Fractions:
        """The estimated value at each anchor; judged products represent the others of their rank band."""
