"""Figures and dates as shops write them: read where they can be read in one way only."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.datasets.tables.figures import read_integer, read_time


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("35", 35),
        ("1,234", 1234),
        ("12,345,678", 12_345_678),
        ("1.2万", 12_000),
        ("3.5万+", 35_000),
        ("2000+", 2000),
        ("1.2w", 12_000),
        ("1.5k", 1500),
        ("2千", 2000),
        ("1亿", 100_000_000),
        ("1２", 12),
        ("12.6", 13),
        ("-3", -3),
        ("1e3", 1000),
    ],
)
def test_sales_figures(text: str, number: int) -> None:
    assert read_integer(text) == number


@pytest.mark.parametrize(
    "text", ["1_000", "12,34", "1,23,456", "1.2x", "many", "", "nan", "inf", "1 000", "0x10"]
)
def test_what_is_no_figure(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        read_integer(text)


@given(st.integers(-(10**15), 10**15))
def test_figures_come_back_with_and_without_groups(number: int) -> None:
    assert read_integer(str(number)) == read_integer(f"{number:,}") == number


@pytest.mark.parametrize(
    "text",
    [
        "2025/3/1 10:22",
        "2025-03-01T10:22:00",
        "2025.3.1 10:22",
        "2025年3月1日 10:22",
        "2025年3月1日10时22分",
        "2025-03-01T18:22:00+08:00",
    ],
)
def test_dates_that_begin_with_their_year(text: str) -> None:
    moment = datetime(2025, 3, 1, 10, 22, tzinfo=UTC)
    assert read_time(text) == int(moment.timestamp()) * 1_000_000


@pytest.mark.parametrize(
    "text", ["3/1/2025", "01.03.2025", "2025/13/1", "2025年2月30日", "yesterday", "1740824520"]
)
def test_dates_with_two_readings_or_none(text: str) -> None:
    with pytest.raises(ValueError):
        read_time(text)
