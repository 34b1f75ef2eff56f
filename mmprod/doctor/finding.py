"""What an examination says of one subject."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from mmprod.storage.errors import InputError, StateError

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """What is so, and where it is not as it should be, the command or the setting that cures it.

    A "problem": something that is configured can't work. A "note": something else is missing, or worth
    knowing.
    """

    subject: str
    level: Level
    text: str
    cure: str = ""


Check = Callable[[], Finding]


def examined(subject: str, check: Check) -> Finding:
    """What a check finds; what keeps it from looking, a library that can't be loaded too, is a problem."""
    try:
        return check()
    except (InputError, StateError, OSError, ImportError) as error:
        return Finding(subject, "problem", str(error))


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A folder to try things in, in `folder` or where that is going to be; gone when the block ends."""
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    with TemporaryDirectory(prefix=".doctor-", dir=there) as name:
        yield Path(name)
