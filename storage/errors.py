"""The exceptions a user can meet; everything else is a bug or the machine's own error."""

import errno

_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class InputError(ValueError):
    """What was given can't be used: a file, a table, an option. Nothing was changed. CLI exit code 2."""


class StateError(RuntimeError):
    """What lies in the lake can't be used: damaged, missing or made by another encoder. CLI exit code 1."""


class GateError(StateError):
    """What was made did not pass its checks; made again it would not either. CLI exit code 1."""


def shortage(error: BaseException | None) -> BaseException | None:
    """What this process is short of, where that is behind an error: memory, or files that it may open.

    Whatever it was reading at the time is not to blame, and fares better another time.
    """
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SHORT):
            return error
        error = error.__cause__ or error.__context__
    return None
