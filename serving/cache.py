"""A cache of vectors by title or picture.

Triton's own response cache isn't used: it also caches refusals and failures, and returns them the next time
as successes without outputs (seen with 2.51). This cache holds single items, so it also helps when they come
in other batches.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np

_OVERHEAD = 400  # bytes of an entry in addition to its numbers


class VectorCache:
    """An encoder with a cache: the least recently used vectors are dropped first."""

    def __init__(self, encode: Callable[[Sequence[bytes]], np.ndarray], width: int, bytes_: int) -> None:
        """`encode`: items to float32 [n, width]; `bytes_`: memory for cached vectors, 0 to cache none."""
        self._encode = encode
        self._capacity = bytes_ // (4 * width + _OVERHEAD)
        self._cached: OrderedDict[bytes, np.ndarray] = OrderedDict()  # by digest, the latest last

    def __len__(self) -> int:
        return len(self._cached)

    def vectors(self, items: Sequence[bytes]) -> tuple[list[np.ndarray], int]:
        """The vector of each item, float32 [width], and how many items had to be encoded.

        Raises whatever `encode` raises; nothing is cached then.
        """
        keys = [blake2b(item, digest_size=16).digest() for item in items]
        found = {key: self._cached[key] for key in keys if key in self._cached}
        new = {key: item for key, item in zip(keys, items, strict=True) if key not in found}
        if new:
            found |= zip(new, map(np.copy, self._encode(list(new.values()))), strict=True)
        self._add(found)
        return [found[key] for key in keys], len(new)

    def _add(self, vectors: dict[bytes, np.ndarray]) -> None:
        for key, vector in vectors.items():
            self._cached[key] = vector
            self._cached.move_to_end(key)
        while len(self._cached) > self._capacity:
            self._cached.popitem(last=False)
