"""Label files as Label Studio exports them ("JSON", not "JSON-MIN"): tasks with their annotations."""

import json
from collections.abc import Iterator
from typing import Any

from mmprod.datasets.tables.private_copy import PrivateCopy
from mmprod.datasets.tables.textfile import Record
from mmprod.eval.labels.source import Source
from mmprod.eval.sheets.sheet import COLUMNS
from mmprod.storage.errors import InputError

_SPACE = " \t\r\n"


def open_label_studio(file: PrivateCopy, encoding: str) -> Source:
    """Open an export, whose text is known to be in `encoding`. Each annotation is a row.

    The row's cells are those of a sheet: the task's data, the choice as label, and who completed it as
    reviewer (e-mail, else number). A task without annotation, or one that was skipped or cancelled, is a row
    without label. The line of a row is the number of its task, from 1.
    Raises: InputError, here or while reading, for a file that is not a list of tasks or is cut off.
    """
    text = file.path.read_text(encoding=encoding)

    def read() -> Iterator[Record]:
        for place, task in enumerate(_tasks(text, file), 1):
            yield from _rows(place, task)

    return Source(COLUMNS, encoding, read)


def _tasks(text: str, file: PrivateCopy) -> Iterator[Any]:
    """The items of the list, one at a time: all tasks as objects would need many times the file's size."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    at, after = _skip(text, 0), "["
    while True:
        if text[at : at + 1] != after:
            if after == "," and text[at : at + 1] == "]" and _skip(text, at + 1) == len(text):
                return
            raise InputError(f"{file} is no whole list of tasks: character {at} is {text[at : at + 20]!r}")
        at = _skip(text, at + 1)
        if after == "[" and text[at : at + 1] == "]" and _skip(text, at + 1) == len(text):
            return
        try:
            task, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file} is no whole list of tasks: {error}") from error
        yield task
        at, after = _skip(text, at), ","


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _SPACE:
        at += 1
    return at


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises for a repeated key, of which json would keep only the last value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key comes twice in an object with {', '.join(found)}")
    return found


def _rows(place: int, task: Any) -> Iterator[Record]:
    data = task.get("data") if isinstance(task, dict) else None
    annotations = task.get("annotations") if isinstance(task, dict) else None
    if not isinstance(data, dict) or not isinstance(annotations, list):
        yield Record(place, (_text(task),), 'no task with "data" and "annotations": export as JSON')
        return
    for annotation in annotations or [{}]:
        try:
            label, reviewer = _label(annotation), _reviewer(annotation) or _text(data.get("reviewer"))
        except (AttributeError, KeyError, TypeError):
            yield Record(place, (_text(task),), "an annotation that Label Studio doesn't write")
            continue
        cells = (*(_text(data.get(name)) for name in COLUMNS[:-2]), label, reviewer)
        yield Record(place, cells, "")


def _label(annotation: Any) -> str:
    if annotation.get("was_cancelled"):
        return ""
    chosen = [result["value"]["choices"] for result in annotation.get("result") or []]
    return ", ".join(_text(choice) for choices in chosen for choice in choices)


def _reviewer(annotation: Any) -> str:
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email") or who.get("username") or who.get("id")
    return _text(who)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
