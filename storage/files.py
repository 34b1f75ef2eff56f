"""Durable file operations. None of the libraries used here sync what they write, so this does."""

import hashlib
import os
import tempfile
from pathlib import Path


def sync_file(path: Path) -> None:
    """Force a file's or a directory's content to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_tree(folder: Path) -> None:
    """Force every file and directory below `folder`, and `folder` itself, to disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            sync_file(Path(root) / name)
        sync_file(Path(root))


def make_folder(path: Path) -> None:
    """Make a folder and the parents it lacks. Each is synced into the one above it, once: when it is made.

    Raises: FileExistsError where something else has that name.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)  # another process may be as far
        sync_file(folder.parent)


def replace_file(path: Path, content: bytes | str) -> None:
    """Write `content` aside, sync it and rename it over `path`: readers see the old or the new, whole."""
    data = content.encode() if isinstance(content, str) else content
    make_folder(path.parent)
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, 0o644)  # mkstemp's own mode would hide the file from other users
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_file(path.parent)


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
