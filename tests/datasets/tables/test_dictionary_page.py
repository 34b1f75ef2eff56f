"""The longest value of a column chunk's dictionary, against what was written."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.datasets.tables.dictionary_page import longest_value

CODECS = ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]


def longest(path: Path, column: int = 0, group: int = 0) -> int:
    with path.open("rb") as file:
        return longest_value(file, pq.read_metadata(path).row_group(group).column(column))


@given(
    st.lists(st.none() | st.binary(max_size=300), min_size=1, max_size=60),
    st.sampled_from(CODECS),
    st.sampled_from(["1.0", "2.6"]),
    st.sampled_from(["1.0", "2.0"]),
    st.booleans(),
)
def test_is_that_of_the_values_written(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[bytes | None],
    codec: str,
    version: str,
    pages: str,
    checksums: bool,
) -> None:
    path = tmp_path_factory.mktemp("t") / "t.parquet"
    pq.write_table(
        pa.table({"image": pa.array(values, pa.binary())}),
        path,
        compression=codec,
        version=version,
        data_page_version=pages,
        write_page_checksum=checksums,
    )
    assert longest(path) == max((len(value) for value in values if value is not None), default=0)


def test_inside_of_lists_and_in_each_row_group(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    levels = pa.array([["Home", "x" * 70]] * 3 + [["Home", "y" * 900]] * 3, pa.list_(pa.string()))
    pq.write_table(pa.table({"levels": levels, "sales": range(6)}), path, row_group_size=3)
    assert [longest(path, 0, group) for group in (0, 1)] == [70, 900]
    assert longest(path, 1) == 0  # numbers


def test_without_a_dictionary_nothing_is_shared(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"title": ["x" * 500] * 10}), path, use_dictionary=False)
    assert longest(path) == 0


def test_a_dictionary_is_found_where_its_offset_was_left_out(tmp_path: Path) -> None:
    """As older writers of Java do: the data is said to begin where the dictionary does."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"title": ["x" * 500] * 10}), path)
    found = pq.read_metadata(path).row_group(0).column(0)
    silent: Any = SimpleNamespace(
        physical_type=found.physical_type,
        has_dictionary_page=False,
        data_page_offset=found.dictionary_page_offset,
        compression=found.compression,
        total_uncompressed_size=found.total_uncompressed_size,
    )
    with path.open("rb") as file:
        assert longest_value(file, silent) == 500


@given(st.data())
def test_damage_gives_a_size_that_no_value_exceeds(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The reader says what is damaged; this only must not fall over, nor promise less than there is."""
    path = tmp_path_factory.mktemp("t") / "t.parquet"
    pq.write_table(pa.table({"title": ["x" * 50, "y" * 20]}), path, compression="none")
    chunk = pq.read_metadata(path).row_group(0).column(0)
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(chunk.dictionary_page_offset + 2, chunk.data_page_offset - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    with path.open("rb") as file:
        assert longest_value(file, chunk) >= 0
