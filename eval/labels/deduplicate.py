"""Deduplicates the answers of one file: of equal answers the first counts, of opposite ones none."""

from array import array
from dataclasses import dataclass

import numpy as np

from mmprod.eval.labels.answer import Answer

_LISTED = 10  # lines named in the reason of a conflict


@dataclass(frozen=True)
class Deduplicated:
    """The answers that count, as parallel arrays in the order of the file, and counts of the others."""

    question: np.ndarray  # int64: its row
    same: np.ndarray  # bool
    reviewer: list[str]
    swapped: int
    protected: int
    duplicates: int
    conflicts: dict[int, str]  # reason by the row's index in the file


class FileAnswers:
    """Collects the answers of one file, with about twenty bytes each."""

    def __init__(self) -> None:
        self._place, self._line, self._question = array("q"), array("q"), array("q")
        self._reviewer, self._same = array("l"), array("b")
        self._swapped, self._protected = array("b"), array("b")
        self._reviewers: dict[str, int] = {}

    def add(self, place: int, line: int, answer: Answer) -> None:
        """Add the answer of a row; `place`: its index in the file, `line`: its line number."""
        self._place.append(place)
        self._line.append(line)
        self._question.append(answer.question)
        self._reviewer.append(self._reviewers.setdefault(answer.reviewer, len(self._reviewers)))
        self._same.append(bool(answer.same))
        self._swapped.append(answer.swapped)
        self._protected.append(answer.protected)

    def deduplicated(self) -> Deduplicated:
        """The first answer of each reviewer to each question, unless the reviewer's answers differ."""
        question, reviewer = np.array(self._question), np.array(self._reviewer)
        same = np.array(self._same, bool)
        _, first, group, size = np.unique(
            question * max(len(self._reviewers), 1) + reviewer,
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        yes = np.bincount(group, weights=same, minlength=len(first))
        agreed = (yes == 0) | (yes == size)
        kept = np.sort(first[agreed])
        names = list(self._reviewers)
        return Deduplicated(
            question=question[kept],
            same=same[kept],
            reviewer=[names[code] for code in reviewer[kept]],
            swapped=int(np.array(self._swapped)[kept].sum()),
            protected=int(np.array(self._protected)[kept].sum()),
            duplicates=int((size[agreed] - 1).sum()),
            conflicts=self._conflicts(group, np.flatnonzero(~agreed[group])),
        )

    def _conflicts(self, group: np.ndarray, rows: np.ndarray) -> dict[int, str]:
        lines: dict[int, list[int]] = {}
        for row in rows.tolist():
            lines.setdefault(int(group[row]), []).append(self._line[row])
        reasons = {of: f"conflict: answered both ways on lines {_listed(on)}" for of, on in lines.items()}
        return {self._place[row]: reasons[int(group[row])] for row in rows.tolist()}


def _listed(lines: list[int]) -> str:
    more = f" and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
    return ", ".join(map(str, lines[:_LISTED])) + more
