"""The pace of training: seconds a step, and a warning if other work on the same cores slows it down."""

import itertools
import logging
import statistics
import time

from mmprod.datasets.threads import cores, threads

log = logging.getLogger(__name__)
MEASURED = 10
"""Steps after which the pace is known; the first two, which load libraries and grow memory, don't count."""
_LEAST_SHARE = 0.4  # share of the threads' time that a step should get


class Pace:
    """Records the wall time and the CPU time of each step."""

    def __init__(self) -> None:
        self._wall, self._busy = [time.perf_counter()], [time.process_time()]

    def tick(self) -> None:
        """Record the end of a step."""
        self._wall.append(time.perf_counter())
        self._busy.append(time.process_time())

    @property
    def known(self) -> bool:
        """True exactly once: after step `MEASURED`, when the pace is known."""
        return len(self._wall) == MEASURED + 1

    @property
    def seconds(self) -> float:
        """Median wall time of a step, without the first two."""
        return _median(self._wall)

    def warn(self) -> None:
        """Log a warning if there are more threads than cores, or if other work takes the cores."""
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
