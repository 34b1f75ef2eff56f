"""Detection of changes to a table's files between the first look at them and the last read.

A table that is still being written, or is replaced, would be read as a mixture: ids of one version, rows of
the other, and products removed that neither version leaves out. Files are not copied. Before rows are used,
their file is compared with its first state by identity, size and times, and before and after all of them, so
is every file, and the list of them. If these differ but the size does not (a copy put in its place, a link
added by a backup), the content is compared.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from mmprod.datasets.tables.partitions import name_below
from mmprod.storage.errors import InputError
from mmprod.storage.files import sha256_file


class Standing(NamedTuple):
    """The identity of a file and the attributes that change when it is written to."""

    device: int
    inode: int
    size: int
    modified: int  # ns
    changed: int  # ns, of content or metadata: programs can't set it

    @classmethod
    def of(cls, found: os.stat_result) -> "Standing":
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Snapshot:
    """The files that `find` returns for the table at `root`, as they are now. Raises what `find` raises."""

    def __init__(self, find: Callable[[], list[Path]], root: Path) -> None:
        self._find = find
        self.files = find()
        self._places: dict[str, list[int]] = {}
        for place, path in enumerate(self.files):
            self._places.setdefault(name_below(root, path), []).append(place)
        self._standing = [Standing.of(path.stat()) for path in self.files]
        self._hashes: list[str] = []

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over the files' content, in their order. Raises: InputError if they have changed."""
        hashes = [sha256_file(path) for path in self.files]
        self.check()
        self._hashes = hashes
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def check(self) -> None:
        """Raises: InputError, naming the file, if one has changed, was removed or was added since."""
        found = self._find()
        if found != self.files:
            other = sorted({*found} ^ {*self.files})[0]
            raise InputError(f"{other} {_came(other in found)} while the table was read; {_AGAIN}")
        for number in range(len(self.files)):
            self._check_file(number)

    def check_file(self, name: str) -> None:
        """Check only the file of that name below the table's path. Raises: as `check`."""
        try:
            for number in self._places[name]:
                self._check_file(number)
        except FileNotFoundError:
            self.check()

    def _check_file(self, number: int) -> None:
        path, before = self.files[number], self._standing[number]
        now = Standing.of(path.stat())
        if now != before and not self._same(number, now):
            raise InputError(
                f"{path} changed while it was read ({before.size:,} bytes, now {now.size:,}); {_AGAIN}"
            )
        self._standing[number] = now

    def _same(self, number: int, now: Standing) -> bool:
        if not self._hashes or now.size != self._standing[number].size:
            return False
        return sha256_file(self.files[number]) == self._hashes[number]


class Pinned:
    """A version of a table that never changes; `identity` is a text that no other version has."""

    def __init__(self, identity: str) -> None:
        self.fingerprint = hashlib.sha256(identity.encode()).hexdigest()

    def check(self) -> None:
        """Nothing to check: what is written to the table meanwhile belongs to other versions."""

    def check_file(self, name: str) -> None:
        """Nothing to check, either."""


_AGAIN = "write it under another name, rename it into place when it is complete, and run again"


def _came(there: bool) -> str:
    return "was added" if there else "was removed"
