"""Inspects an .xlsx file before it is opened: limits its size in memory, and finds merged cells."""

import re
import zipfile
from collections import defaultdict
from functools import partial
from typing import IO, Any
from xml.parsers import expat

from mmprod.datasets.lazy import lazy
from mmprod.datasets.tables.private_copy import PrivateCopy
from mmprod.storage.errors import InputError

openpyxl = lazy("openpyxl")  # slow to import, and most label files are CSV
MAX_UNPACKED = 512 << 20  # bytes of all parts, including pictures
MAX_XML = 64 << 20  # bytes of the parts that are parsed
MAX_ELEMENTS = 1_000_000  # XML elements in all parts; a cell is one to four, filled or not
MAX_OTHER = 50_000  # elements of a part not in _LONG: each becomes an object
MAX_IN_ROW = 100_000  # elements of one row, which is held in memory; spreadsheets have 16,384 columns
STRICT = "http://purl.oclc.org/ooxml/"
_LONG = ("xl/worksheets/", "xl/sharedStrings", "xl/drawings/", "xl/charts/", "xl/pivot", "xl/comments")
_XML = re.compile(rb"(\xef\xbb\xbf)?\s*<|\xff\xfe|\xfe\xff|\0<")  # the start of XML in any encoding
_PIECE = 1 << 16


def inspect(file: PrivateCopy) -> dict[str, list[str]]:
    """The merged ranges of each part of a workbook, by the part's name in the zip.

    Every XML part is parsed once, only to count elements; VML is skipped, as it need not be well-formed and
    is not read later.
    Raises: InputError for a file that unpacks to too much, is damaged or is Strict Open XML; the errors of
    zipfile and expat if it is not a zip of XML.
    """
    with zipfile.ZipFile(file.path) as archive:
        parts = _parts(archive, file)
        merged, left = {}, MAX_ELEMENTS
        for name in parts:
            seen = _Seen(file, left if name.startswith(_LONG) else min(left, MAX_OTHER))
            with archive.open(name) as part:
                merged[name] = seen.parse(part)
            left -= seen.count
        if damaged := archive.testzip():
            raise InputError(f"{file} is damaged: {damaged} doesn't fit its checksum; save it again")
    return merged


def _parts(archive: zipfile.ZipFile, file: PrivateCopy) -> list[str]:
    """The names of the XML parts. Sizes are those stated in the zip; zipfile never unpacks more."""
    sizes = {part.filename: part.file_size for part in archive.infolist()}
    if len(sizes) < len(archive.infolist()):
        raise InputError(f"{file} is damaged: it has a part twice; save it again")
    _check_size(sum(sizes.values()), MAX_UNPACKED, file)
    parts = [name for name in sizes if not name.endswith(".vml") and _is_xml(archive, name)]
    _check_size(sum(sizes[name] for name in parts), MAX_XML, file)
    return parts


def _check_size(size: int, limit: int, file: PrivateCopy) -> None:
    if size > limit:
        raise InputError(f"{file} unpacks to {size} bytes, the limit is {limit}: split it")


def _is_xml(archive: zipfile.ZipFile, name: str) -> bool:
    with archive.open(name) as part:
        return _XML.match(part.read(16)) is not None


class _Seen:
    """A parser that counts elements and collects merged ranges."""

    def __init__(self, file: PrivateCopy, most: int) -> None:
        self.count = 0
        self._file, self._most = file, most
        self._row_ends = most  # the count at which the current row is too long
        self._merged: list[str] = []

    def parse(self, part: IO[bytes]) -> list[str]:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.StartDoctypeDeclHandler = self._doctype
        for piece in iter(partial(part.read, _PIECE), b""):
            parser.Parse(piece, False)
        parser.Parse(b"", True)
        return self._merged

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if name.endswith(" row"):
            self._row_ends = self.count + MAX_IN_ROW
        if self.count > min(self._most, self._row_ends):
            raise InputError(
                f"{self._file} has far more cells than a sheet of questions, empty ones, it seems: "
                "delete the rows and columns beside your answers, or save it as CSV UTF-8"
            )
        if self.count == 1 and name.startswith(STRICT):
            raise InputError(
                f'{self._file} is a "Strict Open XML" workbook: save it as "Excel Workbook (.xlsx)"'
            )
        if name.endswith(" mergeCell"):
            self._merged.append(attributes.get("ref", ""))

    def _doctype(self, *_: Any) -> None:
        raise ValueError("Entities and document types are no part of a workbook")


class Merged:
    """Applies the merged cells of a worksheet to its rows, which are passed in ascending order.

    Cells merged over several rows of one column have the first cell's text in each of these rows. Cells
    merged over several columns are ambiguous and cause an error.
    """

    def __init__(self, ranges: list[str]) -> None:
        self._down: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        self._across: list[tuple[int, int, int, str]] = []
        self._said: dict[int, str] = {}
        for name in ranges:
            left, top, right, bottom = openpyxl.utils.range_boundaries(name)
            if left == right:
                self._down[left].append((top, bottom))
            else:
                self._across.append((top, bottom, left, name))
        self._across.sort(reverse=True)  # the next range is the last element
        for rows in self._down.values():
            rows.sort(reverse=True)

    def fill(self, row: int, texts: dict[int, str], width: int) -> str:
        """Add the texts that a row gets from merged cells to `texts`, by column from 1.

        Returns an error message, "" if there is none; columns after `width` are ignored.
        """
        for column, ranges in self._down.items():
            while ranges and ranges[-1][1] < row:
                ranges.pop()
                self._said.pop(column, None)
            if ranges and ranges[-1][0] == row:
                self._said[column] = texts.get(column, "")
            elif column <= width and self._said.get(column):
                texts.setdefault(column, self._said[column])
        while self._across and self._across[-1][1] < row:
            self._across.pop()
        if self._across and self._across[-1][0] <= row and self._across[-1][2] <= width:
            return f"cells {self._across[-1][3]} are merged: split them"
        return ""
