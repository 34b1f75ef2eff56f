"""Selection of training pairs: the ``[pairs]`` section and options of ``mmprod pairs``. Light to import."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _off(value: object) -> object:
    return None if value == "off" else value


Bound = Annotated[float | None, Field(ge=0), BeforeValidator(_off)]
ShareBound = Annotated[float | None, Field(ge=0, le=1), BeforeValidator(_off)]


class Quality(BaseModel):
    """Bounds of the quality rules: a pair beyond one of them is rejected. None ("off" in a file): no rule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_letters: Bound = Field(
        default=3, description="Letters of the title; one of Chinese, Japanese, Korean counts twice."
    )
    max_words: Bound = Field(default=40, description="Words of the title.")
    max_repeated: ShareBound = Field(default=0.5, description="Share of the title's words that are repeats.")
    max_foreign: Bound = Field(default=1, description="Other categories that the title names.")
    max_shared: Bound = Field(default=20, description="Items that show the same picture.")
    min_agreement: ShareBound = Field(
        default=None, description="Share of other titles that fit the picture less well than its own."
    )
    min_side: Bound = Field(default=32, description="Pixels of the picture's shorter side.")
    min_deviation: Bound = Field(default=1.5, description="Standard deviation of brightness, of 255.")
    max_plain: ShareBound = Field(default=0.995, description="Share of the picture in one colour.")
    max_frame: ShareBound = Field(default=0.3, description="Share of the picture that is a coloured frame.")
    max_seam: ShareBound = Field(default=0.93, description="Share of a line across it that is a sharp step.")
    max_writing: Bound = Field(default=14, description="Changes from black to white along a line of it.")


class Selection(BaseModel):
    """Which products become pairs; the same store and selection give the same pairs in the same split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sales_quantile: float = Field(
        default=0.0, ge=0, lt=1, description="Only products with sales at or above this quantile of theirs."
    )
    active_days: int | None = Field(
        default=None, ge=0, description="Only products updated (or seen) within so many days of the latest."
    )
    categories: tuple[str, ...] = Field(default=(), description="Only these paths and what is below them.")
    max_per_category: int | None = Field(default=None, ge=1, description="At most so many pairs of each.")
    level: int = Field(
        default=2, ge=0, le=8, description="Path levels that form a category; 0: one for the whole catalogue."
    )
    held_out: float = Field(default=0.1, ge=0, lt=1, description="Share of pairs never trained on.")
    seed: int = Field(default=0, description="Another seed, another split and sample.")
    quality: Quality = Quality()
