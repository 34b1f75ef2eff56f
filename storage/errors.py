"""The exceptions that are reported to users; any other exception is a bug or an error of the machine."""

import errno

_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class InputError(ValueError):
    """An input can't be used: a file, a table, an option. Nothing was changed. CLI exit code 2."""


class StateError(RuntimeError):
    """State in the lake can't be used: damaged, missing or made by another encoder. CLI exit code 1."""


class GateError(StateError):
    """A new artifact failed its checks; building it again would fail again. CLI exit code 1."""


def shortage(error: BaseException | None) -> BaseException | None:
    """The exception in the chain of `error` that reports a lack of memory or file descriptors; else None.

    Such an error says nothing about the file that was being read: reading it later may succeed.
    """
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SHORT):
            return error
        error = error.__cause__ or error.__context__
    return None
