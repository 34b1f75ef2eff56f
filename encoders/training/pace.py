"""How fast training goes: how many steps fit into a time, and what keeps them from being faster."""

import itertools
import logging
import statistics
import time

from mmprod.datasets.threads import cores, threads

log = logging.getLogger(__name__)
MEASURED = 10
"""Steps after which the pace is known; the first two, which load libraries and grow memory, don't count."""
_LEAST_SHARE = 0.4  # of the threads' time that a step should get


class Pace:
    """The time of each step and of this process in it."""

    def __init__(self) -> None:
        self._wall, self._busy = [time.perf_counter()], [time.process_time()]

    def tick(self) -> None:
        """A step has ended."""
        self._wall.append(time.perf_counter())
        self._busy.append(time.process_time())

    @property
    def known(self) -> bool:
        """Whether just enough steps were made to judge by."""
        return len(self._wall) == MEASURED + 1

    @property
    def seconds(self) -> float:
        """Of a step: the median of those that count."""
        return _median(self._wall)

    def warn(self) -> None:
        """Say what makes steps slow that somebody can do something about: other work on the same cores."""
        share = _median(self._busy) / self.seconds / threads()
        if threads() > cores():
            log.warning(
                'a step takes %.2g s on %d threads, but this process may use %d cores: threads = "auto"',
                self.seconds,
                threads(),
                cores(),
            )
        elif share < _LEAST_SHARE:
            log.warning(
                "a step takes %.2g s, and this process gets %.0f %% of %d threads' time: other work takes "
                "the cores. Let it end, or give each its share (threads = 1, MMPROD_THREADS=1)",
                self.seconds,
                100 * share,
                threads(),
            )


def _median(times: list[float]) -> float:
    durations = [after - before for before, after in itertools.pairwise(times)]
    return statistics.median(durations[2:] or durations)
