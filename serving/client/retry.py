"""When a call tries again and when it gives up, the same for every client."""

import random
import time

from mmprod.storage.errors import StateError

_LEAST = 1e-3  # seconds, for libraries that take none for no limit
_FIRST, _LONGEST = 0.1, 2.0  # seconds that a pause may take, at the first failure and at most


class Unavailable(StateError):  # noqa: N818  (what a server is)
    """No answer, or one that says that another may come later: after `wait` seconds, where that is known."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class Patience:
    """The time that one call has, over all its parts and tries.

    A pause is as long as the server asks for, and somewhere between nothing and 0.1, 0.2, 0.4 … 2 s more, so
    that callers turned away together don't come back together.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._longest = _FIRST

    @property
    def left(self) -> float:
        """Seconds. Raises: StateError when none are left."""
        self.check()
        return max(self._end - time.monotonic(), _LEAST)

    def check(self) -> None:
        """Raises: StateError when the time is over."""
        if time.monotonic() >= self._end:
            raise StateError(f"not done within the deadline of {self.seconds:g} s")

    def pause(self, failure: Unavailable) -> float:
        """Seconds to wait before the next try. Raises: the failure when the deadline is over by then."""
        pause = failure.wait + random.uniform(0, self._longest)
        self._longest = min(2 * self._longest, _LONGEST)
        if pause >= self._end - time.monotonic():
            raise failure
        return pause
