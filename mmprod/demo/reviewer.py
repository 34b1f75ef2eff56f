"""Simulated reviewers of the sample marketplace: they know the truth and make random errors."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmprod.storage.errors import InputError
from mmprod.storage.files import replace_file

Truth = Callable[[str, str], bool]
"""A function of two product ids: whether the products are the same."""


@dataclass(frozen=True)
class SimulatedReviewer:
    """A reviewer who fills in sheets.

    Each answer is independently wrong with probability `error_rate` and missing with probability `skips`, by
    `seed`. A `lazy` reviewer always says "different".
    """

    name: str
    error_rate: float = 0.03
    skips: float = 0.0
    lazy: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for what, rate in (("error_rate", self.error_rate), ("skips", self.skips)):
            if not 0 <= rate <= 1:
                raise InputError(f"{what}={rate}: want a probability between 0 and 1")

    def fill_in(self, sheet: Path, filled: Path, truth: Truth) -> int:
        """Answer the rows of a CSV sheet and write it to `filled`; returns the number of answers."""
        rows = list(csv.DictReader(io.StringIO(sheet.read_text("utf-8-sig"))))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        labels = [self._label(row, truth) for row in rows]
        for row, label in zip(rows, labels, strict=True):
            writer.writerow({**row, "label": label, "reviewer": self.name})
        replace_file(filled, text.getvalue().encode("utf-8-sig"))
        return sum(map(bool, labels))

    def _label(self, row: dict[str, str], truth: Truth) -> str:
        """The answer to a row; a repeated question has another id, so its answer is drawn anew."""
        skips, errs = np.random.default_rng([self.seed, *row["pair_id"].encode()]).random(2)
        if skips < self.skips:
            return ""
        anchor, product = (row[name].removeprefix("'") for name in ("anchor_id", "product_id"))
        same = not self.lazy and truth(anchor, product) != (errs < self.error_rate)
        return "same" if same else "different"
