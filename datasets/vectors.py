"""Conversion of vectors between NumPy matrices and Arrow columns of fixed-size float16 lists."""

import numpy as np
import pyarrow as pa


def to_column(matrix: np.ndarray, present: np.ndarray) -> pa.FixedSizeListArray:
    """Float [n, d] to a float16 column; rows where `present` (bool [n]) is false become null."""
    values = pa.array(np.ascontiguousarray(matrix, np.float16).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, matrix.shape[1], mask=pa.array(~present))


def from_column(column: pa.FixedSizeListArray) -> tuple[np.ndarray, np.ndarray]:
    """A float16 column to (float16 [n, d] with zeros for null, bool [n] which rows are present)."""
    present = column.is_valid().to_numpy(zero_copy_only=False)
    matrix = np.zeros((len(column), column.type.list_size), np.float16)
    matrix[present] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
    return matrix, present
