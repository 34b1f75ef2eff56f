"""All measures, by name. To add one, write a file in this folder and list it in MEASURES."""

from mmprod.eval.measures.average_precision import AveragePrecision
from mmprod.eval.measures.measure import Measure
from mmprod.eval.measures.precision import Precision
from mmprod.eval.measures.precision_at_k import PrecisionAtK
from mmprod.eval.measures.recall import Recall
from mmprod.eval.measures.success import Success
from mmprod.storage.errors import InputError

MEASURES: tuple[type[Measure], ...] = (Precision, PrecisionAtK, AveragePrecision, Recall, Success)
"""The measures in the order of reports."""


def parse(name: str) -> Measure:
    """``"P@10"`` as ``PrecisionAtK(10)``; ``str`` is the inverse. Raises: InputError for another name."""
    found = find(name)
    if found is None:
        known = ", ".join(f"{each.kind}@k" if each.has_cutoff else each.kind for each in MEASURES)
        raise InputError(f"measure {name!r} is unknown; write one of {known}, with a whole number k from 1")
    return found


def find(name: str) -> Measure | None:
    """The measure of that name, None if there is none; METRIC also has figures that are not measures."""
    kind, at, cutoff = name.partition("@")
    for each in MEASURES:
        if each.kind == kind and each.has_cutoff == bool(at):
            if not at:
                return each()
            return each(int(cutoff)) if cutoff.isascii() and cutoff.isdigit() and int(cutoff) else None
    return None
