"""The errors of the libraries that read Delta Lake and Iceberg tables, as errors of this project."""

import contextlib
import re
from collections.abc import Iterator

from mmprod.datasets.tables.columnar import raise_own
from mmprod.storage.errors import InputError

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_TOLD = 400  # characters of a library's message


@contextlib.contextmanager
def reading(table: str, kind: str, extra: str) -> Iterator[None]:
    """Raises: InputError, naming the table, for any error in the block that is not one of the machine.

    `kind` is the table's kind in words, `extra` that of mmprod's extras which brings the library.
    """
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f'{table} is {kind}: pip install "mmprod[{extra}]" ({error})') from error
    except Exception as error:
        # Of damaged files, the libraries raise whatever comes up, even SystemError.
        raise_own(error)
        said = " ".join(_COLOURS.sub("", str(error)).split())
        raise InputError(
            f"{table} can't be read as {kind}: {said[:_TOLD] or type(error).__name__}"
        ) from error
