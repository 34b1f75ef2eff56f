"""Vectors that were made a while ago, to be answered again.

Triton's own response cache isn't used: it keeps refusals and failures too, and answers them the next time as
successes without outputs (seen with 2.51). This one keeps by title and picture, so it also helps where these
come in other batches.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np

_BESIDE = 400  # bytes that an entry takes beside its numbers


class Recent:
    """An encoder that remembers: of what it was asked for lately nothing is encoded again."""

    def __init__(self, encode: Callable[[Sequence[bytes]], np.ndarray], width: int, bytes_: int) -> None:
        """encode: items to float32 [n, width]; bytes_: that the vectors kept may take, 0 to keep none."""
        self._encode = encode
        self._most = bytes_ // (4 * width + _BESIDE)
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()  # by digest, the latest last

    def __len__(self) -> int:
        return len(self._kept)

    def vectors(self, items: Sequence[bytes]) -> tuple[list[np.ndarray], int]:
        """The vector of each item, float32 [width], and how many had to be encoded.

        What `encode` raises goes through, and then nothing is kept.
        """
        keys = [blake2b(item, digest_size=16).digest() for item in items]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        new = {key: item for key, item in zip(keys, items, strict=True) if key not in found}
        if new:
            found |= zip(new, map(np.copy, self._encode(list(new.values()))), strict=True)
        self._keep(found)
        return [found[key] for key in keys], len(new)

    def _keep(self, found: dict[bytes, np.ndarray]) -> None:
        for key, vector in found.items():
            self._kept[key] = vector
            self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
