"""Fingerprints of ``local-dir:`` encoders that were loaded before, by the content of their folders.

    lake/.encoders/<hash of the content>.json

Loading a model only to learn its fingerprint takes seconds, and torch; reading its files takes less than one.
"""

import hashlib
import importlib.metadata
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from mmprod.datasets.forms import FORMS
from mmprod.lake import Lake
from mmprod.storage import checked_json
from mmprod.storage.errors import StateError
from mmprod.storage.files import replace_file, sha256_file

LOCAL = "local-dir:"
_LIBRARIES = ("torch", "open-clip-torch", "transformers")  # an architecture is described in their words


@dataclass(frozen=True)
class Known:
    """What is recorded: the fingerprint, and the folder for people."""

    fingerprint: str
    folder: str


def fingerprint_of(lake: Lake, model: str) -> str | None:
    """The fingerprint of an encoder, if it is one of the lake or is known; None if it has to be loaded."""
    if not model.startswith(LOCAL):
        return lake.encoder_fingerprint(model)
    if (key := content_key(model)) is None:
        return None
    with suppress(StateError):  # there is none, or it is damaged
        return str(checked_json.load(_path(lake, key), Known)["fingerprint"])
    return None


def content_key(model: str) -> str | None:
    """24 hex digits that change with any file of a ``local-dir:`` encoder, the normal forms, and the versions
    of the libraries that load it. None for other names, and if there is no such folder."""
    folder = Path(model.removeprefix(LOCAL))
    if not model.startswith(LOCAL) or not folder.is_dir():
        return None
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    content = [(path.relative_to(folder).as_posix(), sha256_file(path)) for path in files]
    return hashlib.sha256(json.dumps([content, FORMS, _versions()]).encode()).hexdigest()[:24]


def note(lake: Lake, model: str, key: str | None, fingerprint: str) -> None:
    """Record the fingerprint of an encoder that was loaded; `key` is that of its content before loading it.

    Nothing is recorded if the content has changed meanwhile.
    """
    if key and content_key(model) == key:
        known = Known(fingerprint, model.removeprefix(LOCAL))
        replace_file(_path(lake, key), checked_json.dump(asdict(known)))


def _path(lake: Lake, key: str) -> Path:
    return lake.root / ".encoders" / f"{key}.json"


def _versions() -> list[str]:
    found = []
    for name in _LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return found
