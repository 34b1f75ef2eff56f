"""Label files in XLSX, as Excel, WPS and LibreOffice save them."""

import contextlib
import errno
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmprod.datasets.errors import InputError
from mmprod.datasets.textfile import Record, check_size
from mmprod.eval.labels.source import NEEDED, Source, column_names

MAX_UNPACKED = 512 << 20  # bytes of all files in the zip
MAX_ROWS, MAX_COLUMNS = 1_048_576, 256  # a worksheet has no more rows; a sheet of questions has 7 columns
_DIGITS = 15  # that a spreadsheet keeps of a number


def open_xlsx(path: Path, max_bytes: int) -> Source:
    """The worksheet whose first row with content has the columns of a sheet of questions.

    Cells become text as they are stored: a formula is its text, not its value; a number of more digits
    than a spreadsheet keeps is written 1.2E+20, as it would show it, so that it is no id.
    Raises: InputError, here or while reading, for a file over `max_bytes`, one that unpacks to more than
    MAX_UNPACKED, is cut off or damaged, and where no worksheet has these columns or more than one has.
    """
    check_size(path, max_bytes)
    found = {}
    with _refusing(path), path.open("rb") as file:
        _check_archive(file, path)
        for sheet in _load(file).worksheets:
            header = next((row for row in _rows(sheet, path, 0) if any(row.cells)), None)
            if header and set(NEEDED) <= set(column_names(header.cells)):
                found[sheet.title] = header
    if len(found) != 1:
        sheets = f"{len(found)} worksheets ({', '.join(found)}) have" if found else "no worksheet has"
        raise InputError(f"{path}: {sheets} the columns {', '.join(NEEDED)} in the first row: want one")
    ((title, header),) = found.items()

    def read() -> Iterator[Record]:
        with _refusing(path), path.open("rb") as file:
            for row in _rows(_load(file)[title], path, len(header.cells)):
                if row.line > header.line:
                    yield row

    return Source(header.cells, "", read)


def whole_zip(path: Path) -> bool:
    """Whether a zip file has its end: the table of contents, which is written last."""
    try:
        with zipfile.ZipFile(path):
            return True
    except (zipfile.BadZipFile, NotImplementedError):
        return False


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Whatever the library stumbles over in a damaged workbook makes it an InputError."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # any at all can come out of hostile XML
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # the disk's, not the file's; EINVAL: the zip points before its own beginning
        cause = error.__cause__ or error
        raise InputError(
            f"{path} is no whole .xlsx workbook ({type(cause).__name__}: {cause}): save it again"
        ) from error


def _check_archive(file: Any, path: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        size = sum(part.file_size for part in archive.infolist())  # zipfile never unpacks more than it says
        if size > MAX_UNPACKED:
            raise InputError(f"{path} unpacks to {size} bytes, the limit is {MAX_UNPACKED}: split it")
        if damaged := archive.testzip():
            raise InputError(f"{path} is damaged: {damaged} doesn't fit its checksum; save it again")


def _load(file: Any) -> Any:
    from openpyxl import load_workbook

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and extensions it leaves out: they hold no cells
        return load_workbook(file, read_only=True, keep_links=False)


def _rows(sheet: Any, path: Path, width: int) -> Iterator[Record]:
    """The rows that are stored, each filled up to `width` cells; the numbers are the worksheet's.

    openpyxl's own iteration leaves out rows and cells that are not in order: its parser tells them all.
    """
    from openpyxl.worksheet._reader import WorkSheetParser

    last = 0
    with sheet._get_source() as xml:
        parser = WorkSheetParser(xml, sheet._shared_strings)
        for number, cells in _quietly(parser.parse()):
            if not last < number <= MAX_ROWS:
                raise InputError(f"{path}: row {number} of {sheet.title!r} comes after row {last}")
            last = number
            yield _record(number, cells, width)


def _quietly(rows: Iterator[Any]) -> Iterator[Any]:
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            row = next(rows, None)
        if row is None:
            return
        yield row


def _record(number: int, cells: Iterable[dict[str, Any]], width: int) -> Record:
    """A row as cells side by side, those left out empty; in error where its cells have no such order."""
    filled = [(cell["row"], cell["column"], _text(cell["value"])) for cell in cells]
    filled = [cell for cell in filled if cell[2]]
    texts = {column: text for _, column, text in filled}
    last = max(texts, default=0)
    if last > MAX_COLUMNS or len(texts) < len(filled) or any(row != number for row, _, _ in filled):
        return Record(number, tuple(text for _, _, text in filled), "its cells are not in order")
    return Record(number, tuple(texts.get(column, "") for column in range(1, max(width, last) + 1)), "")


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
