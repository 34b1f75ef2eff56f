"""Room on a disk: what doesn't fit is refused before work, not after hours of writing."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mmprod.storage.errors import StateError

SPARE = 1.05
"""What has to be free for each byte needed: needs are estimates, and a full disk stops other work too."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CURE = "Free some (`mmprod prune` removes old generations) or use a larger disk, then run again"
_ROOMY = 10_000_000  # bytes; with so many free beside what is needed it isn't for want of room


class NoRoom(StateError, OSError):  # noqa: N818 (what a disk has not)
    """A disk that is full, or fails, while something is written to it; what was there before is untouched."""

    def __init__(self, what: str, folder: Path, said: str, need: int = 0) -> None:
        """`what` was written at `folder`, and of how many bytes; `said`: by whoever wrote it."""
        takes = f" takes about {amount(need)} and" if need else ""
        there = free(folder)
        cure = _CURE if there < need + _ROOMY else "See what the kernel says of the disk, then run again"
        super().__init__(
            f"{what}{takes} could not be written at {folder}: {said}; {amount(there)} are free there. "
            f"Nothing of it is kept, what was there is untouched. {cure}"
        )


def free(folder: Path) -> int:
    """Bytes free where `folder` lies, or is going to."""
    folder = folder.absolute()
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def require(what: str, need: int, folder: Path) -> None:
    """Raises: StateError, with both figures, where `need` bytes and a twentieth more aren't free there."""
    if need * SPARE > (there := free(folder)):
        raise StateError(
            f"not enough disk: {what} takes about {amount(need)}, {amount(there)} are free at "
            f"{folder}. Nothing was changed; free some (`mmprod prune` removes old generations), "
            "or use a larger disk"
        )


@contextlib.contextmanager
def told(folder: Path) -> Iterator[None]:
    """Around work on what lies in `folder`: where a disk is full, say so, with what is free on it.

    Raises: NoRoom in place of the errors that libraries have for it.
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
    """Whether a disk has no room; some of Lance's errors have that in their text only."""
    return error.errno in _FULL or any(os.strerror(number) in str(error) for number in _FULL)


def amount(count: float) -> str:
    """Bytes as people read them: three figures, in MB or GB."""
    unit, name = (1e9, "GB") if count >= 1e9 else (1e6, "MB")
    value = count / unit
    return f"{value:,.0f} {name}" if value >= 100 else f"{value:.3g} {name}"
