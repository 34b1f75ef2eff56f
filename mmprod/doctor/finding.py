"""The result of one check."""

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
    """A finding and, if it is not "ok", its cure: a command or a setting.

    "problem": something configured can't work. "note": something optional is missing, or worth knowing.
    """

    subject: str
    level: Level
    text: str
    cure: str = ""


Check = Callable[[], Finding]


def examined(subject: str, check: Check) -> Finding:
    """Run a check; if it raises, e.g. because a library can't be loaded, that is a problem."""
    try:
        return check()
    except (InputError, StateError, OSError, ImportError) as error:
        return Finding(subject, "problem", str(error))


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A temporary folder for tests, in `folder` or its nearest existing parent; deleted afterwards."""
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    with TemporaryDirectory(prefix=".doctor-", dir=there) as name:
        yield Path(name)
