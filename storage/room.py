"""Disk space: work that would not fit is refused before it starts, not after hours of writing."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mmprod.storage.errors import StateError

SPARE = 1.05
"""Free bytes required per estimated byte: estimates can be low, and a full disk stops other work too."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CURE = "Free some (`mmprod prune` removes old generations) or use a larger disk, then run again"
_ROOMY = 10_000_000  # bytes; with so many free beyond the need, the cause is not a full disk


class NoRoom(StateError, OSError):  # noqa: N818 (the condition of a disk)
    """The disk became full, or failed, during a write; what was there before is untouched."""

    def __init__(self, what: str, folder: Path, said: str, need: int = 0) -> None:
        """`what` was to be written at `folder`; `said`: the original error; `need`: bytes, if known."""
        takes = f" takes about {amount(need)} and" if need else ""
        self._given = what, folder, said, need
        there = free(folder)
        cure = _CURE if there < need + _ROOMY else "Check the disk in the kernel log, then run again"
        super().__init__(
            f"{what}{takes} could not be written at {folder}: {said}; {amount(there)} are free there. "
            f"Nothing of it is kept, what was there is untouched. {cure}"
        )

    def __reduce__(self) -> tuple[object, ...]:
        """For a process that raises it on behalf of another one."""
        return NoRoom, self._given


def free(folder: Path) -> int:
    """Free bytes on the disk that holds `folder`, which need not exist yet."""
    folder = folder.absolute()
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def require(what: str, need: int, folder: Path) -> None:
    """Check that the disk of `folder` has `need` bytes and a twentieth more free.

    Raises: StateError, with both figures, when it does not.
    """
    if need * SPARE > (there := free(folder)):
        raise StateError(
            f"not enough disk: {what} takes about {amount(need)}, {amount(there)} are free at "
            f"{folder}. Nothing was changed; free some (`mmprod prune` removes old generations), "
            "or use a larger disk"
        )


@contextlib.contextmanager
def told(folder: Path) -> Iterator[None]:
    """Hold around work that writes to `folder`: errors about a full disk become NoRoom, with the free space.

    Raises: NoRoom in place of the various errors that libraries raise.
    """
    try:
        yield
    except NoRoom:
        raise
    except OSError as error:
        if not is_full(error):
            raise
        where = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else folder
        raise NoRoom("a file", where, os.strerror(errno.ENOSPC)) from error


def is_full(error: OSError) -> bool:
    """Whether the error says that a disk is full; some of Lance's errors say it in their text only."""
    return error.errno in _FULL or any(os.strerror(number) in str(error) for number in _FULL)


def amount(count: float) -> str:
    """Bytes as text: three significant figures, in MB or GB."""
    unit, name = (1e9, "GB") if count >= 1e9 else (1e6, "MB")
    value = count / unit
    return f"{value:,.0f} {name}" if value >= 100 else f"{value:.3g} {name}"
