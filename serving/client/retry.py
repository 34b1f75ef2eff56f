"""Deadlines and retries, the same for both clients."""

import random
import time

from mmprod.storage.errors import StateError

_LEAST = 1e-3  # seconds, for HTTP libraries that read 0 as "no timeout"
_FIRST, _LONGEST = 0.1, 2.0  # seconds: longest random pause after the first failure, and after many


class Unavailable(StateError):  # noqa: N818  (the state of a server)
    """No answer, or one after which a retry can succeed: in `wait` seconds, if the server says so."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class Deadline:
    """The end of a call, over all its parts and retries.

    A pause before a retry is what the server asks for, plus a random time of at most 0.1, 0.2, 0.4 … 2 s, so
    that clients that were refused together do not return together.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._longest = _FIRST

    @property
    def remaining(self) -> float:
        """Seconds until the deadline. Raises: StateError if it is over."""
        self.check()
        return max(self._end - time.monotonic(), _LEAST)

    def check(self) -> None:
        """Raises: StateError if the deadline is over."""
        if time.monotonic() >= self._end:
            raise StateError(f"not done within the deadline of {self.seconds:g} s")

    def pause(self, failure: Unavailable) -> float:
        """Seconds to wait before the next try. Raises: the failure if the deadline is over by then."""
        pause = failure.wait + random.uniform(0, self._longest)
        self._longest = min(2 * self._longest, _LONGEST)
        if pause >= self._end - time.monotonic():
            raise failure
        return pause
