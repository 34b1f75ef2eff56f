"""Reads and writes TREC's text formats: runs (ranked results) and qrels (relevance)."""

import math
from collections.abc import Iterator
from pathlib import Path

from mmprod.eval.runs import Qrels, Run
from mmprod.storage.errors import InputError
from mmprod.storage.files import replace_file


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """A run: lines ``query Q0 product rank score tag``, as query -> product -> score.

    The second, fourth and sixth column are ignored: as in trec_eval, scores determine the order, and ties are
    won by the larger id (see `evaluate_run`).
    Raises: InputError, with the line, for a number of columns other than 6, a score that isn't a finite
    number, a repeated product of a query, bytes that aren't UTF-8, and a file without lines.
    """
    run: dict[str, dict[str, float]] = {}
    for place, (query, _, product, _, score, _) in _lines(path, 6):
        found = run.setdefault(query, {})
        if product in found:
            raise InputError(f"{place}: product {product!r} comes twice for query {query!r}")
        found[product] = _finite(score, place)
    return run


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Qrels: lines ``query iteration product relevance``, as query -> product -> relevance, a whole number.

    Grades are kept: ``AP(rel=2)`` counts 2 and above as relevant; 0 and below are never relevant.
    Raises: InputError, with the line, as `read_run`.
    """
    qrels: dict[str, dict[str, int]] = {}
    for place, (query, _, product, relevance) in _lines(path, 4):
        found = qrels.setdefault(query, {})
        if product in found:
            raise InputError(f"{place}: product {product!r} comes twice for query {query!r}")
        found[product] = _whole(relevance, place)
    return qrels


def write_run(path: Path, run: Run, tag: str = "mmprod") -> None:
    """Write a run atomically, best score first, with ties ordered as in trec_eval.

    Raises: InputError for an id that is empty or contains white space, which the format does not allow.
    """
    lines = []
    for query, scores in run.items():
        order = sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)
        for rank, (product, score) in enumerate(order, 1):
            lines.append(f"{_word(query)} Q0 {_word(product)} {rank} {score!r} {_word(tag)}\n")
    replace_file(path, "".join(lines))


def write_qrels(path: Path, qrels: Qrels) -> None:
    """Write qrels atomically. Raises: InputError as `write_run`."""
    lines = (
        f"{_word(query)} 0 {_word(product)} {relevance}\n"
        for query, products in qrels.items()
        for product, relevance in products.items()
    )
    replace_file(path, "".join(lines))


def _lines(path: Path, columns: int) -> Iterator[tuple[str, list[str]]]:
    """The cells of each non-blank line, with its location for messages."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    number = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            place = f"{path}, line {number}"
            try:
                cells = line.decode("utf-8-sig" if number == 1 else "utf-8").split()
            except UnicodeDecodeError as error:
                raise InputError(f"{place} is not UTF-8 ({error.reason})") from error
            if cells and len(cells) != columns:
                raise InputError(f"{place} has {len(cells)} columns, want {columns}: {line[:80]!r}")
            if cells:
                yield place, cells
    if not number:
        raise InputError(f"{path}: the file is empty")


def _finite(text: str, place: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{place}: score {text[:40]!r} is not a finite number")
    return number


def _whole(text: str, place: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 1 << 31
    if abs(number) >= 1 << 31:
        raise InputError(f"{place}: relevance {text[:40]!r} is not a whole number of 32 bits")
    return number


def _word(text: str) -> str:
    if len(text.split()) != 1 or text != text.strip():
        raise InputError(f"{text!r} can't stand in a TREC file: ids there have no white space")
    return text
