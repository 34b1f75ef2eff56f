"""The records of imported vectors: which table the vectors imported under a name are in.

lake/imports/<name>.json    written once the first vectors under this name are in their table
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from mmprod.storage import checked_json
from mmprod.storage.errors import InputError
from mmprod.storage.files import replace_file

_TAG = "imported vectors 1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


@dataclass(frozen=True)
class Import:
    """Whose vectors were imported under a name.

    `model` describes the model that made them, as the user does; "" if nothing was said. `number` counts the
    models that had this name; `began`: the stamp of the file that this one began with.
    """

    name: str
    width: int
    model: str
    number: int
    began: str

    @property
    def fingerprint(self) -> str:
        """Hash of name, width, model and number: 64 hex digits."""
        content = json.dumps([_TAG, self.name, self.width, self.model, self.number])
        return hashlib.sha256(content.encode()).hexdigest()


def read(folder: Path, name: str) -> Import | None:
    """The record of a name, None if there is none. Raises: StateError if it is damaged."""
    path = _path(folder, name)
    return Import(**checked_json.load(path, Import)) if path.exists() else None


def write(folder: Path, record: Import) -> None:
    """Write a record; until then, readers use the one before."""
    replace_file(_path(folder, record.name), checked_json.dump(asdict(record)))


def chosen(before: Import | None, name: str, width: int, model: str | None, new: bool, stamp: str) -> Import:
    """The record of an import: that of the imports `before`, or with `new` that of another model.

    `stamp` is that of the file: the same file begins another model only once. Raises: InputError if width or
    model differ from those before, unless `new`.
    """
    if before and before.began == stamp:
        new = False
    if before is None or new:
        return Import(name, width, model or "", before.number + 1 if before else 1, stamp)
    for what, had, has in (("width", before.width, width), ("--model", before.model, model)):
        if has not in (None, had):
            raise InputError(
                f"the vectors imported as {name!r} have {what} {had!r}, these have {has!r}: vectors of "
                "different models can't be compared. Choose another name, or replace all of them with --new"
            )
    return before


def _path(folder: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for imported vectors: want letters, digits, '.', '_' and '-'")
    return folder / f"{name}.json"
