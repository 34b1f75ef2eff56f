"""JSON files that contain a checksum of their own content, so that a flipped byte is detected."""

import hashlib
import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from mmprod.storage.errors import StateError

_KEY = "checksum"


def dump(content: dict[str, Any]) -> str:
    """`content` as JSON with the sha256 of its canonical form under ``checksum``."""
    return json.dumps({**content, _KEY: _checksum(content)}, indent=1, sort_keys=True) + "\n"


def load(path: Path, kind: type[Any]) -> dict[str, Any]:
    """Read a file written by `dump`; its keys are checked against the fields of dataclass `kind`.

    Fields with a default may be missing: earlier versions did not write them.
    Raises: StateError when the file is missing, unreadable, changed by any byte or has other fields.
    """
    try:
        text = path.read_text()
        content: dict[str, Any] = json.loads(text)
        stored = content.pop(_KEY)
        found = _checksum(content)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise StateError(f"{path} can't be read: {error}") from error
    if stored != found or text != dump(content):
        raise StateError(f"{path} is damaged: its content has checksum {found}, recorded is {stored}")
    known = {field.name for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    if not needed <= content.keys() <= known:
        raise StateError(
            f"{path} is of another version of mmprod: it has {sorted(content)}, not {sorted(known)}"
        )
    return content


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
