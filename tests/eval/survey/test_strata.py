import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.eval.survey.strata import ANY_SALES, NO_CATEGORY, Bands, cut
from mmprod.storage.errors import InputError

amounts = st.lists(st.none() | st.integers(0, 30), max_size=60)


def floats(sales):
    return np.array([np.nan if s is None else s for s in sales], np.float64)


@pytest.mark.parametrize(
    ("path", "level", "name"),
    [
        ("Home > Lighting > Lamps", 1, "Home"),
        ("Home > Lighting > Lamps", 2, "Home > Lighting"),
        ("Home", 3, "Home"),
        ("", 1, NO_CATEGORY),
    ],
)
def test_a_category_is_cut_at_a_level(path, level, name):
    assert cut(path, level) == name


def test_a_level_below_one_is_refused():
    with pytest.raises(InputError, match="is 0, want at least 1"):
        cut("Home", 0)


def test_bands_of_twenty_different_sales():
    bands = Bands.of(np.arange(20.0), (0.1, 0.5))
    assert bands.names == ("top 10 %", "10–50 %", "rest")
    names = [bands.name(sales) for sales in range(20)]
    assert names == ["rest"] * 10 + ["10–50 %"] * 8 + ["top 10 %"] * 2
    assert (bands.name(None), bands.name(10**9)) == ("rest", "top 10 %")


def test_most_products_sell_nothing_and_are_not_among_the_best():
    bands = Bands.of(np.array([0.0] * 95 + [5.0] * 5), (0.1, 0.5))
    assert [bands.name(sales) for sales in (0, 5)] == ["rest", "top 10 %"]


def test_where_few_sales_are_known_all_of_them_are_in_the_top_band():
    bands = Bands.of(floats([3, 0] + [None] * 98), (0.1, 0.5))
    assert [bands.name(sales) for sales in (3, 0, None)] == ["top 10 %", "top 10 %", "rest"]


def test_shares_are_exact_where_floats_are_not():
    assert Bands.of(np.arange(100.0), (0.29,)).index(np.arange(100.0)).tolist() == [1] * 71 + [0] * 29


def test_without_shares_there_is_one_band_and_without_products_the_last():
    assert Bands.of(np.arange(5.0), ()).name(3) == ANY_SALES
    assert Bands.of(np.empty(0), (0.125,)).name(None) == "rest"
    assert Bands.of(np.empty(0), (0.125,)).names == ("top 12.5 %", "rest")


@pytest.mark.parametrize("shares", [(0.0,), (1.0,), (0.5, 0.5), (0.5, 0.1), (-0.1,), (float("nan"),)])
def test_shares_that_do_not_ascend_are_refused(shares):
    with pytest.raises(InputError, match="ascending"):
        Bands.of(np.arange(5.0), shares)


@given(sales=amounts, shares=st.sets(st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.9])).map(sorted))
def test_no_band_takes_more_than_its_share_and_equal_sales_share_one(sales, shares):
    bands = Bands.of(floats(sales), shares)
    index = bands.index(floats(sales))
    for place, share in enumerate(shares):
        assert (index <= place).sum() <= share * len(sales) + 1e-6
        # no looser bound would do: with the next lower sales it would be too many
        lower = {s for s, i in zip(sales, index, strict=True) if i > place and s is not None}
        if lower:
            assert sum(s is not None and s >= max(lower) for s in sales) > share * len(sales) - 1e-6
    assert [bands.names[i] for i in index] == [bands.name(s) for s in sales]
    assert all(i == len(shares) for s, i in zip(sales, index, strict=True) if s is None)
    ranked = [
        i for _, i in sorted(zip(sales, index, strict=True), key=lambda x: -1 if x[0] is None else x[0])
    ]
    assert ranked == sorted(ranked, reverse=True)
