"""A circuit breaker for picture hosts (Nygard, Release It!, 2007).

A host that doesn't answer is not tried for a while: a timeout for each of its pictures would take all night.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Standing:
    failures: int = 0  # in a row
    answered: bool = False  # ever
    since: float = 0.0  # when the current pause without an answer began
    until: float = 0.0  # when one request may try the host again


class Hosts:
    """The circuit breakers of all hosts, by name and port; thread-safe."""

    def __init__(
        self,
        failures: int = 8,
        pause: float = 10,
        timeout: float = 120,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """After `failures` in a row a host is paused for `pause` seconds, then tried by one request.

        `timeout`: how many seconds to wait for a paused host that has answered before.
        """
        self._failures, self._pause, self._timeout, self._now = failures, pause, timeout, now
        self._lock = threading.Lock()
        self._hosts: dict[str, _Standing] = {}

    def admit(self, host: str) -> bool:
        """Whether a request may be sent to the host now. After a pause only the first one is admitted."""
        with self._lock:
            standing = self._of(host)
            if standing.failures < self._failures:
                return True
            if (now := self._now()) < standing.until:
                return False
            standing.until = now + self._pause
            return True

    def answered(self, host: str) -> None:
        """Record that the host answered, with whatever status."""
        with self._lock:
            self._hosts[host] = _Standing(answered=True)

    def failed(self, host: str) -> None:
        """Record that the host did not answer, or that it reported a failing backend."""
        with self._lock:
            standing, now = self._of(host), self._now()
            standing.failures += 1
            if standing.failures == self._failures:
                standing.since = now
            standing.until = now + self._pause

    def wait(self, host: str) -> float | None:
        """Seconds until a paused host may be tried again; None if it isn't worth waiting for."""
        with self._lock:
            standing, now = self._of(host), self._now()
            if standing.failures < self._failures:
                return 0
            if not standing.answered or now - standing.since > self._timeout:
                return None
            return max(0, standing.until - now)

    def _of(self, host: str) -> _Standing:
        return self._hosts.setdefault(host, _Standing())
