"""What a measure is: a value that knows its name, its cut-off, its words and how it is computed."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from mmprod.eval.measures.counted_lists import CountedLists, Fractions
from mmprod.eval.measures.sampled_lists import SampledLists
from mmprod.storage.errors import InputError

Variant = Literal["judged", "pooled", "pessimistic"]
VARIANTS: tuple[Variant, ...] = ("judged", "pooled", "pessimistic")
"""How unjudged products count: taken out of the list, estimated, as not the same."""


@dataclass(frozen=True)
class Measure(ABC):
    """A measure of ranked lists, from 0 to 1 at each anchor: ``PrecisionAtK(10)`` prints as ``P@10``.

    In the formulas y_r is 1 where the product at rank r is the same as the anchor and 0 where it is not, or
    where nothing was found; n is how many products the system found, R how many same products of the anchor
    all systems found down to the pooled depth.

    Attributes:
        cutoff: k, the last rank that counts; None for a measure of whole lists, down to the pooled depth.
        kind: the name before the @.
        called: the same in a meeting, where that is another word.
        meaning: for the reader of a report; "{k}" stands for the cut-off.
        headline: whether reports show the first of its kind large.
        has_cutoff: whether it takes one.
        variants: the ways that unjudged products can count in it.

    Raises: InputError for a cut-off below 1, one too many and one that is missing.
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
        """As it is written in settings and stands in METRIC: ``AP@10``."""
        return self.kind if self.cutoff is None else f"{self.kind}@{self.cutoff}"

    @property
    def heading(self) -> str:
        """As it is called in a meeting: ``mAP@10``."""
        return (self.called or self.kind) + self.name.removeprefix(self.kind)

    @abstractmethod
    def counted(self, lists: CountedLists, k: int) -> Fractions:
        """Its value at each anchor, every product counting as the same or not.

        `k` is the cut-off, for a measure without one the pooled depth.
        """


@dataclass(frozen=True)
class EstimatedMeasure(Measure):
    """A measure that can be estimated as well, where a part of the lists was drawn and judged."""

    variants: ClassVar[tuple[Variant, ...]] = VARIANTS

    @abstractmethod
    def estimated(self, lists: SampledLists, k: int) -> Fractions:
        """Its value at each anchor, judged products standing for the others of their rank band."""
