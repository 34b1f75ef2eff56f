"""Label files in XLSX, as saved by Excel, WPS and LibreOffice."""

import contextlib
import errno
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mmprod.datasets.lazy import lazy
from mmprod.datasets.tables.private_copy import PrivateCopy
from mmprod.datasets.tables.textfile import Record
from mmprod.eval.labels.source import ABOVE, NEEDED, Source, check_title, is_header
from mmprod.eval.labels.workbook_parts import Merged, inspect
from mmprod.storage.errors import InputError

openpyxl = lazy("openpyxl")  # slow to import, and most label files are CSV
MAX_ROWS, MAX_COLUMNS = 1_048_576, 256  # a worksheet has no more rows; a sheet of questions has 7 columns
_DIGITS = 15  # significant digits of a spreadsheet's numbers


def open_xlsx(file: PrivateCopy) -> Source:
    """Open the worksheet that has a sheet's columns in one of its first rows with content.

    Cells are read as stored: a formula is its text, not its value. A number with more digits than a
    spreadsheet keeps is written as 1.2E+20, so that it is not taken for an id.
    Raises: InputError, here or while reading, for a file that unpacks to too much (see
    `workbook_parts.inspect`), is cut off or damaged, and unless exactly one worksheet has these columns.
    """
    found = {}
    with _refusing(file), file.path.open("rb") as data:
        merged = inspect(file)
        for sheet in _load(data).worksheets:
            rows = (row for row in _rows(sheet, file, Merged([]), 0) if any(row.cells))
            first = list(islice(rows, ABOVE))
            if header := next((row for row in first if is_header(row.cells)), None):
                for row in first[: first.index(header)]:
                    check_title(row.cells, row.line, file)
                found[sheet.title] = header
    if len(found) != 1:
        sheets = f"{len(found)} worksheets ({', '.join(found)}) have" if found else "no worksheet has"
        raise InputError(f"{file}: {sheets} the columns {', '.join(NEEDED)} in a first row: want one")
    ((title, header),) = found.items()

    def read() -> Iterator[Record]:
        with _refusing(file), file.path.open("rb") as data:
            sheet = _load(data)[title]
            ranges = Merged(merged.get(sheet._worksheet_path.lstrip("/"), []))
            for row in _rows(sheet, file, ranges, len(header.cells)):
                if row.line > header.line:
                    yield row

    return Source(header.cells, "", read)


def whole_zip(path: Path) -> bool:
    """Whether a zip file is complete, i.e. has its table of contents, which is written last."""
    try:
        with zipfile.ZipFile(path):
            return True
    except (zipfile.BadZipFile, NotImplementedError):
        return False


@contextlib.contextmanager
def _refusing(file: PrivateCopy) -> Iterator[None]:
    """Turns any error of the library on a damaged workbook into an InputError."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # hostile XML can raise anything
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # an error of the disk; EINVAL is one of the file: the zip points before its own beginning
        cause = error.__cause__ or error
        raise InputError(
            f"{file} is no whole .xlsx workbook ({type(cause).__name__}: {cause}): save it again"
        ) from error


def _load(file: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about ignored styles and extensions, which hold no cells
        return openpyxl.load_workbook(file, read_only=True, keep_links=False)


def _rows(sheet: Any, file: PrivateCopy, merged: Merged, width: int) -> Iterator[Record]:
    """The stored rows, each padded to `width` cells; line numbers are the worksheet's.

    Uses openpyxl's parser, as openpyxl's own iteration drops rows and cells that are not in order.
    """
    last = 0
    with sheet._get_source() as xml:
        parser = openpyxl.worksheet._reader.WorkSheetParser(xml, sheet._shared_strings)
        for number, cells in _quietly(parser.parse()):
            if not last < number <= MAX_ROWS:
                raise InputError(f"{file}: row {number} of {sheet.title!r} comes after row {last}")
            last = number
            yield _record(number, cells, merged, width)


def _quietly(rows: Iterator[Any]) -> Iterator[Any]:
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            row = next(rows, None)
        if row is None:
            return
        yield row


def _record(number: int, cells: Iterable[dict[str, Any]], merged: Merged, width: int) -> Record:
    """A row as adjacent cells, missing ones empty; with an error if its cells are not in order."""
    filled = [(cell["row"], cell["column"], _text(cell["value"])) for cell in cells]
    filled = [cell for cell in filled if cell[2]]
    texts = {column: text for _, column, text in filled}
    last = max(texts, default=0)
    if last > MAX_COLUMNS or len(texts) < len(filled) or any(row != number for row, _, _ in filled):
        return Record(number, tuple(text for _, _, text in filled), "its cells are not in order")
    error = merged.fill(number, texts, width)
    last = max(last, max(texts, default=0))
    return Record(number, tuple(texts.get(column, "") for column in range(1, max(width, last) + 1)), error)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, (int, float)) and abs(value) >= 10**_DIGITS:
        return f"{value:.{_DIGITS - 1}E}"
    if hasattr(value, "ref"):  # a formula over several cells
        return str(getattr(value, "text", None) or "=")
    return str(value)
