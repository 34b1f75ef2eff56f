import numpy as np
import pytest

from mmprod.retrieval.vectors import check_vectors, require_vectors, take_rows
from mmprod.storage.errors import InputError


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_each_unusable_row_has_its_reason(dtype: type) -> None:
    x = np.full((7, 4), 0.5, dtype)
    x[1, 2], x[2, 0], x[3], x[4, 1], x[5] = np.nan, np.inf, 0, -np.inf, 2
    mask, reasons = check_vectors(x, 4)
    assert mask.tolist() == [True, False, False, False, False, False, True]
    assert reasons == {1: "NaN", 2: "inf", 3: "zero", 4: "inf", 5: "norm 4 is over 1"}


def test_missing_half_is_usable() -> None:
    mask, reasons = check_vectors(np.array([[0, 0, 0.7, 0]], np.float32))
    assert mask.all()
    assert not reasons


@pytest.mark.parametrize(
    "x",
    [np.zeros(4, np.float32), np.zeros((2, 5), np.float32), np.zeros((2, 4), np.int64), [[1.0] * 4]],
    ids=["one row", "other dimension", "integers", "a list"],
)
def test_what_is_no_matrix_of_floats_is_refused(x: object) -> None:
    with pytest.raises(InputError):
        check_vectors(x, 4)  # type: ignore[arg-type]


def test_refusal_names_the_row_counted_from_the_start() -> None:
    x = np.full((3, 4), 0.1, np.float32)
    x[1] = np.nan
    with pytest.raises(InputError, match="vector 101 is unusable: NaN"):
        require_vectors(x, 4, first=100)


def test_rows_are_gathered_from_blocks_in_the_order_asked() -> None:
    x = np.arange(60, dtype=np.float16).reshape(20, 3)
    rows = np.array([19, 0, 7, 7, 3, 12])
    assert np.array_equal(take_rows([x[:5], x[5:5], x[5:13], x[13:]], rows), x[rows].astype(np.float32))
    with pytest.raises(InputError, match="row 20 asked for, the vectors end after 20"):
        take_rows([x], np.array([20]))
