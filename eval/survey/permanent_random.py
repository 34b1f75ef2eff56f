"""Permanent random numbers: a name has the same number in every survey with the same seed."""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


def places(names: Iterable[str], seed: int) -> NDArray[np.uint64]:
    """A random number for each name, uint64[n], that depends only on the name and `seed`.

    Drawing the smallest numbers is simple random sampling without replacement, and a later survey, with more
    or fewer names, draws the same ones as far as possible (Ohlsson, Coordination of samples using permanent
    random numbers, 1995). The number is the first 8 bytes of keyed blake2b.
    """
    key = str(seed).encode()
    digests = b"".join([blake2b(name.encode(), digest_size=8, key=key).digest() for name in names])
    return np.frombuffer(digests, ">u8").astype(np.uint64)
