"""Folders through which machines exchange files: a path, or a bucket such as ``s3://bucket/prefix``.

A file appears in a folder completely or not at all. Buckets are opened by Arrow: it reads the usual variables
(AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …), and options behind a ``?`` in the address (``endpoint_override``).
"""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from pyarrow import fs

from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import make_folder, replace_file, sync_file

_BLOCK = 16 << 20  # bytes copied at a time


class Folder(Protocol):
    """What both kinds of folder offer; names are those of files directly in it."""

    address: str

    def modified(self) -> dict[str, float]:
        """The files, and when each was written: seconds by the clock of the folder's server."""

    def local(self, name: str) -> AbstractContextManager[Path]:
        """A file, to be read here during the block. Raises: FileNotFoundError if there is none."""

    def draft(self) -> AbstractContextManager[Path]:
        """A path on this machine for a file to be published; removed at the end of the block."""

    def publish(self, draft: Path, name: str) -> None:
        """Give a draft its name in the folder, durably; it replaces a file of that name."""

    def mark(self, name: str) -> None:
        """Write an empty file of that name."""


def open_folder(address: str) -> Folder:
    """The folder at a path or an address with ``://``; it may still be missing.

    Raises: InputError for an address that Arrow can't open.
    """
    return _Bucket(address) if "://" in address else _Local(address)


class _Local:
    def __init__(self, address: str) -> None:
        self.address, self._path = address, Path(address)

    def modified(self) -> dict[str, float]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._path) as entries:
            return {entry.name: entry.stat().st_mtime for entry in entries}
        return {}

    @contextlib.contextmanager
    def local(self, name: str) -> Iterator[Path]:
        path = self._path / name
        path.stat()  # raises
        yield path

    @contextlib.contextmanager
    def draft(self) -> Iterator[Path]:
        make_folder(self._path)
        path = self._path / f".{secrets.token_hex(8)}.draft"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def publish(self, draft: Path, name: str) -> None:
        sync_file(draft)
        draft.replace(self._path / name)
        sync_file(self._path)

    def mark(self, name: str) -> None:
        replace_file(self._path / name, b"")


class _Bucket:
    """A put into a bucket is atomic: an upload that does not end well leaves no file."""

    def __init__(self, address: str) -> None:
        self.address = address.partition("?")[0].rstrip("/")
        try:
            self._fs, self._path = fs.FileSystem.from_uri(address)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{self.address} can't be opened: {_brief(error)}") from error

    def modified(self) -> dict[str, float]:
        with self._told():
            found = self._fs.get_file_info(fs.FileSelector(self._path, allow_not_found=True))
            return {info.base_name: (info.mtime_ns or 0) / 1e9 for info in found if info.is_file}

    @contextlib.contextmanager
    def local(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="mmprod-") as folder:
            path = Path(folder) / name
            with self._told(), self._fs.open_input_stream(self._at(name)) as source, path.open("wb") as sink:
                shutil.copyfileobj(source, sink, _BLOCK)
            yield path

    @contextlib.contextmanager
    def draft(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="mmprod-") as folder:
            yield Path(folder) / "draft"

    def publish(self, draft: Path, name: str) -> None:
        with self._told(), draft.open("rb") as source, self._fs.open_output_stream(self._at(name)) as sink:
            shutil.copyfileobj(source, sink, _BLOCK)

    def mark(self, name: str) -> None:
        with self._told(), self._fs.open_output_stream(self._at(name)):
            pass

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the service name the folder."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno is not None:
                raise  # of this machine's disk
            raise StateError(f"{self.address}: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
