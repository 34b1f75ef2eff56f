"""Reviewers who know the truth and err now and then: the sample marketplace's stand-in for people."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmprod.storage.errors import InputError
from mmprod.storage.files import replace_file

Truth = Callable[[str, str], bool]
"""Whether two products are the same, from their ids."""


@dataclass(frozen=True)
class SimulatedReviewer:
    """Somebody who fills in sheets: each answer is wrong with probability `error_rate` and missing with
    `skips`, independently, by `seed`; one who is `lazy` says "different" without looking."""

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
        """Answer the rows of a CSV sheet and write it to `filled`; how many were answered."""
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
        """A question asked twice is answered afresh: it has another name."""
        skips, errs = np.random.default_rng([self.seed, *row["pair_id"].encode()]).random(2)
        if skips < self.skips:
            return ""
        anchor, product = (row[name].removeprefix("'") for name in ("anchor_id", "product_id"))
        same = not self.lazy and truth(anchor, product) != (errs < self.error_rate)
        return "same" if same else "different"
