"""Conversion between NumPy and Arrow by buffers: pyarrow's own methods import pandas, which takes 0.5 s."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def to_arrow(rows: np.ndarray) -> pa.Int64Array:
    """Row numbers, integers [n], as an Arrow column."""
    buffer = pa.py_buffer(np.ascontiguousarray(rows, np.int64))
    return pa.Array.from_buffers(pa.int64(), len(rows), [None, buffer])


def texts_to_arrow(texts: Sequence[str]) -> pa.StringArray:
    """Texts as an Arrow column."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def to_numpy(column: pa.Array) -> np.ndarray:
    """A column of integers or booleans without nulls as a read-only array [n]."""
    if pa.types.is_boolean(column.type):  # Arrow stores eight booleans in a byte
        return np.from_dlpack(column.cast(pa.uint8())).view(bool)
    return np.from_dlpack(column)
