"""Durable file operations: the libraries that mmprod writes files with do not sync them."""

import hashlib
import os
import tempfile
from pathlib import Path


def sync_file(path: Path) -> None:
    """Force the content of a file or directory to disk."""
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
    """Create a folder and its missing parents, and sync the parent of each new folder.

    Raises: FileExistsError when a file has that name.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)  # another process may have made it meanwhile
        sync_file(folder.parent)


def replace_file(path: Path, content: bytes | str) -> None:
    """Replace `path` by `content` atomically and durably: written to a temporary file, synced, renamed."""
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
    """Hex sha256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
