"""Reading and decoding of pictures ahead of the towers, in threads."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from mmprod.datasets.embeddings.plan import OUT_OF_MEMORY, Job
from mmprod.datasets.images.geometry import Geometry
from mmprod.datasets.images.images import BadImage
from mmprod.datasets.images.shrink import Shrunk, shrink
from mmprod.datasets.threads import threads

AHEAD = 3
"""Batches that are read and decoded while one goes through the towers; they bound the memory in use."""


class Decoded(NamedTuple):
    """A batch of jobs, and its distinct pictures by hash: the tower's inputs, or why they have none."""

    jobs: Sequence[Job]
    pixels: dict[bytes, np.ndarray]  # uint8 [3, height, width]
    reasons: dict[bytes, str]
    profiles_ignored: int


def decoded_ahead(
    batches: Iterable[Sequence[Job]], geometry: Geometry, max_pixels: int, window: int = 0
) -> Generator[Decoded]:
    """Each batch with its decoded pictures, in order; meanwhile AHEAD further ones are read and decoded.

    `batches` is iterated in another thread. A picture that one of the `window` batches before had is not
    decoded again. Of each thread, only one picture is in memory in full size. Close the generator to end
    early.
    """
    with ExitStack() as stack:
        pools = (ThreadPoolExecutor(1, "read"), ThreadPoolExecutor(threads(), "decode"))
        for pool in pools:  # waits for what is running; what was not begun is dropped
            stack.callback(pool.shutdown, cancel_futures=True)
        reader = _Reader(iter(batches), geometry, max_pixels, window, pools[1])
        pending = deque(pools[0].submit(reader.read) for _ in range(AHEAD))
        while read := pending.popleft().result():
            pending.append(pools[0].submit(reader.read))
            yield _gathered(*read, reader)


_Pictures = dict[bytes, "Future[Shrunk | None]"]


@dataclass
class _Reader:
    batches: Iterator[Sequence[Job]]
    geometry: Geometry
    max_pixels: int
    window: int
    decoders: ThreadPoolExecutor
    recent: deque[set[bytes]] = field(default_factory=deque)
    known: set[bytes] = field(default_factory=set)

    def read(self) -> tuple[Sequence[Job], _Pictures] | None:
        """The next batch, the decoding of its pictures begun; None at the end."""
        if (jobs := next(self.batches, None)) is None:
            return None
        new = {
            job.image_hash: job
            for job in reversed(jobs)
            if job.picture is not None and job.kept_image is None and job.image_hash is not None
        }
        new = {key: new[key] for key in reversed(new) if key not in self.known}
        self._remember(set(new))
        return jobs, {key: self.decoders.submit(self.shrunk, job) for key, job in new.items()}

    def shrunk(self, job: Job) -> Shrunk | None:
        """Read and shrink a picture; None if it is missing. Raises: as `shrink`."""
        data = job.picture() if callable(job.picture) else job.picture
        return None if data is None else shrink(data, self.geometry, self.max_pixels)

    def _remember(self, keys: set[bytes]) -> None:
        self.recent.append(keys)
        self.known |= keys
        if len(self.recent) > self.window:
            self.known -= self.recent.popleft()


def _gathered(jobs: Sequence[Job], pictures: _Pictures, reader: _Reader) -> Decoded:
    found = {key: _tried(picture.result) for key, picture in pictures.items()}
    if short := [key for key, shrunk in found.items() if shrunk == OUT_OF_MEMORY]:  # others held the memory
        by_hash = {job.image_hash: job for job in reversed(jobs) if job.picture is not None}
        found |= {key: _tried(partial(reader.shrunk, by_hash[key])) for key in short}
    done = {key: shrunk for key, shrunk in found.items() if isinstance(shrunk, Shrunk)}
    reasons = {key: reason for key, reason in found.items() if isinstance(reason, str)}
    ignored = sum(shrunk.profile_ignored for shrunk in done.values())
    return Decoded(jobs, {key: shrunk.pixels for key, shrunk in done.items()}, reasons, ignored)


def _tried(result: Callable[[], Shrunk | None]) -> Shrunk | str | None:
    """The shrunk picture, or why there is none; None for one that the store lacks."""
    try:
        return result()
    except BadImage as bad:
        return bad.reason
    except MemoryError:
        return OUT_OF_MEMORY
