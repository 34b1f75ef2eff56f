"""Streaming reader of XML product feeds (RSS or Atom, with Google Merchant's names): an item is a row.

https://support.google.com/merchants/answer/7052112
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import pyarrow as pa
from defusedxml.ElementTree import iterparse

from mmprod.datasets.tables.raw_rows import RawRows, file_name
from mmprod.storage.errors import InputError

SEPARATOR = "\n"
"""Joins the values of an element that occurs several times in an item."""
_ITEMS = ("item", "entry")  # of RSS, of Atom
_MAX_BATCH = 32_000_000  # characters


class XmlTable:
    """One XML file. Its columns are the names of the items' elements, without namespaces, and all text."""

    rows = None  # unknown until the file is read

    def __init__(self, path: Path, expected: Iterable[str] = ()) -> None:
        """Read the file once for its columns. `expected` columns are added even if no item has them.

        Raises: InputError when the file is incomplete or has no item.
        """
        self.files = [path]
        self._path = path
        names: dict[str, None] = {}
        for row in self._items():
            names |= dict.fromkeys(row)
        if not names:
            raise InputError(
                f"{path} has no <item> and no <entry>; an empty table would remove every product"
            )
        names |= dict.fromkeys(expected)
        self.schema = pa.schema([(name, pa.string()) for name in names])

    def read(self, columns: list[str], batch_rows: int) -> Iterator[RawRows]:
        """The rows with these columns, numbered from 1, `batch_rows` at a time (fewer if rows are long)."""
        kept: list[dict[str, str]] = []
        size, first = 0, 1
        for row in self._items():
            kept.append({name: row[name] for name in columns if name in row})
            size += sum(map(len, kept[-1].values()))
            if len(kept) >= batch_rows or size > _MAX_BATCH:
                yield self._batch(kept, columns, first)
                kept, size, first = [], 0, first + len(kept)
        if kept:
            yield self._batch(kept, columns, first)

    def _batch(self, rows: list[dict[str, str]], columns: list[str], first: int) -> RawRows:
        arrays = [pa.array([row.get(name) for row in rows], pa.string()) for name in columns]
        batch = pa.RecordBatch.from_arrays(arrays, names=columns)
        return RawRows(batch, file_name(self._path), range(first, first + len(rows)))

    def _items(self) -> Iterator[dict[str, str]]:
        try:
            opened: list[Element] = []
            for event, element in iterparse(self._path, events=("start", "end")):
                if event == "start":
                    opened.append(element)
                    continue
                opened.pop()
                if _name(element) in _ITEMS:
                    yield _row(element)
                    element.clear()
                    if opened:
                        opened[-1].remove(element)
        except (ParseError, ValueError, LookupError) as error:
            raise InputError(f"{self._path} is no complete XML file: {error}") from error


def _row(item: Element) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for element in item:
        text = " ".join("".join(element.itertext()).split()) or element.get("href", "")  # Atom's links
        if text:
            found.setdefault(_name(element), []).append(text)
    return {name: SEPARATOR.join(texts) for name, texts in found.items()}


def _name(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]
