"""Which hosts answer. One that doesn't is left alone for a while: waiting for each of its pictures would take
the night (a circuit breaker; Nygard, Release It!, 2007)."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Standing:
    failures: int = 0  # in a row
    answered: bool = False  # ever
    since: float = 0.0  # when it was first left alone, without an answer since
    until: float = 0.0  # when one request may try it again


class Hosts:
    """How hosts stand, by name and port; of many threads."""

    def __init__(
        self,
        failures: int = 8,
        pause: float = 10,
        patience: float = 120,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """After `failures` in a row a host is left alone for `pause` seconds, then tried by one request.

        `patience`: seconds that one which has answered before is worth waiting for.
        """
        self._failures, self._pause, self._patience, self._now = failures, pause, patience, now
        self._lock = threading.Lock()
        self._hosts: dict[str, _Standing] = {}

    def admit(self, host: str) -> bool:
        """Whether a request may go there now. Of those that ask after a pause, the first is the trial."""
        with self._lock:
            standing = self._of(host)
            if standing.failures < self._failures:
                return True
            if (now := self._now()) < standing.until:
                return False
            standing.until = now + self._pause
            return True

    def answered(self, host: str) -> None:
        """It answered, whatever it said."""
        with self._lock:
            self._hosts[host] = _Standing(answered=True)

    def failed(self, host: str) -> None:
        """It did not answer, or said that what is behind it doesn't."""
        with self._lock:
            standing, now = self._of(host), self._now()
            standing.failures += 1
            if standing.failures == self._failures:
                standing.since = now
            standing.until = now + self._pause

    def wait(self, host: str) -> float | None:
        """Seconds until a host that was left alone may be tried, None where it isn't worth waiting for."""
        with self._lock:
            standing, now = self._of(host), self._now()
            if standing.failures < self._failures:
                return 0
            if not standing.answered or now - standing.since > self._patience:
                return None
            return max(0, standing.until - now)

    def _of(self, host: str) -> _Standing:
        return self._hosts.setdefault(host, _Standing())
