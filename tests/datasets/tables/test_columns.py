"""Columns of many types become the canonical ones; values that can't be refuse their row."""

import decimal
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmprod.datasets.schemas import PRODUCT
from mmprod.datasets.tables.table import ProductTable, TableSpec, open_table

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
PLAIN = TableSpec()


def write(path: Path, **columns: object) -> Path:
    """A Parquet file of the given columns."""
    pq.write_table(pa.table(columns), path)
    return path


def rows(table: ProductTable) -> list[dict[str, object]]:
    """All accepted rows."""
    return [row for batch in table.batches() for row in batch.accepted.to_pylist()]


def refused(table: ProductTable) -> list[tuple[str, str | None, str]]:
    return [tuple(row) for batch in table.batches() for row in batch.refused]


def column(tmp_path: Path, name: str, values: object) -> list[object]:
    """What becomes of one column's values in a Parquet table."""
    n = len(values)  # type: ignore[arg-type]
    path = write(
        tmp_path / "t.parquet", **{"product_id": [str(i) for i in range(n)], "title": ["t"] * n, name: values}
    )
    return [row[name] for row in rows(open_table(path, PLAIN, NOW))]


@pytest.mark.parametrize(
    "values",
    [
        [["a", "b"], ["a"], None, []],
        pa.array([["a", "b"], ["a"], None, []], pa.large_list(pa.large_string())),
        ["a > b", " a ", None, ""],
        pa.array(["a>b", "a", None, " "]).dictionary_encode(),
    ],
)
def test_category_as_one_column(tmp_path: Path, values: object) -> None:
    assert column(tmp_path, "category", values) == [["a", "b"], ["a"], None, None]
    path = write(tmp_path / "u.parquet", product_id=list("abcd"), title=list("abcd"), kind=values)
    by_spec = rows(open_table(path, TableSpec(category=["kind"])))
    assert [row["category"] for row in by_spec] == [["a", "b"], ["a"], None, None]


@pytest.mark.parametrize(
    "values",
    [
        ["7", "0"],
        [7, 0],
        pa.array([7, 0], pa.uint64()),
        pa.array([decimal.Decimal(7), decimal.Decimal(0)], pa.decimal128(20, 0)),
        pa.array(["7", "0"]).dictionary_encode(),
        pa.array(["7", "0"], pa.string_view()),
        [" 7", "0  "],
    ],
)
def test_ids_of_any_exact_type_are_text(tmp_path: Path, values: object) -> None:
    path = write(tmp_path / "t.parquet", product_id=values, title=["a", "b"])
    assert [row["product_id"] for row in rows(open_table(path, PLAIN))] == ["7", "0"]


BAD_IDS = {
    None: "id_missing",
    "": "id_missing",
    "  ": "id_missing",
    "x" * 512: "id_too_long",
    "灯" * 171: "id_too_long",
    "6.28E+15": "id_scientific",
    "1.2e+10": "id_scientific",
    "1E+5": "id_scientific",
    "6,28E+15": "id_scientific",
    "1.5e7": "id_scientific",
    "a\nb": "id_control_character",
    "a\0": "id_control_character",
    "a\x9b": "id_control_character",
    "a\ufffd": "id_not_text",
}
GOOD_IDS = [
    "NA",
    "null",
    "nan",
    "None",
    "0012345",
    "12E5",
    "E-7",
    "1e",
    "x" * 511,
    "灯" * 170,
    "=1+1",
    "a b",
    "😀",
]


def test_ids_that_are_none_are_refused_with_their_row(tmp_path: Path) -> None:
    ids = [*BAD_IDS, *GOOD_IDS]
    random.Random(4).shuffle(ids)
    path = write(tmp_path / "t.parquet", product_id=ids, title=["t"] * len(ids))
    table = open_table(path, PLAIN)
    expected = [(f"t.parquet:{n}", None, BAD_IDS[i]) for n, i in enumerate(ids, 1) if i in BAD_IDS]
    assert refused(table) == expected
    assert [row["product_id"] for row in rows(table)] == [i for i in ids if i not in BAD_IDS]
    batches = list(table.batches(4))
    assert [s for b in batches for s in b.sources] == [
        f"t.parquet:{n}" for n, i in enumerate(ids, 1) if i in GOOD_IDS
    ]
    assert [tuple(row) for b in batches for row in b.refused] == expected


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    raw = pa.array([b"caf\xe9", b"ok"], pa.binary()).view(pa.string())
    lists = pa.ListArray.from_arrays([0, 1, 2], raw)
    path = write(tmp_path / "t.parquet", product_id=raw, title=raw, category=lists, colour=raw)
    table = open_table(path, TableSpec(attributes=["colour"]))
    assert refused(table) == [("t.parquet:1", None, "id_not_text")]
    path = write(tmp_path / "u.parquet", product_id=["1", "2"], title=raw, category=lists, colour=raw)
    first = rows(open_table(path, TableSpec(attributes=["colour"])))[0]
    assert (first["title"], first["category"], first["attributes"]) == (
        "caf\ufffd",
        ["caf\ufffd"],
        [("colour", "caf\ufffd")],
    )


MOMENT = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "values",
    [
        *(
            pa.array([MOMENT.replace(tzinfo=None), None], pa.timestamp(unit))
            for unit in ("s", "ms", "us", "ns")
        ),
        *(pa.array([MOMENT, None], pa.timestamp(unit, "Asia/Shanghai")) for unit in ("s", "ms", "us", "ns")),
        ["2024-02-29T23:59:59", None],
        ["2024-02-29 23:59:59", ""],
        ["2024-02-29T23:59:59Z", " "],
        ["2024-03-01T07:59:59+08:00", None],
        ["2024-03-01 07:59:59.000000000+0800", None],
        ["20240229T235959", None],
    ],
)
def test_times_of_any_kind_are_microseconds_in_utc(tmp_path: Path, values: object) -> None:
    assert column(tmp_path, "updated_at", values) == [MOMENT, None]


def test_mixed_zones_dates_and_fractions(tmp_path: Path) -> None:
    mixed = ["2024-02-29T23:59:59", "2024-03-01T07:59:59+08:00", "2024-02-29", None]
    midnight = datetime(2024, 2, 29, tzinfo=UTC)
    assert column(tmp_path, "updated_at", mixed) == [MOMENT, MOMENT, midnight, None]
    for kind in (pa.date32(), pa.date64()):
        assert column(tmp_path, "updated_at", pa.array([date(2024, 2, 29), None], kind)) == [midnight, None]
    nanoseconds = pa.array([1_709_251_199_123_456_789], pa.timestamp("ns"))
    assert column(tmp_path, "updated_at", nanoseconds) == [MOMENT.replace(microsecond=123456)]


def test_times_that_are_refused(tmp_path: Path) -> None:
    times = [
        "2024-03-02T12:00:00Z",
        "2024-03-02T12:00:01Z",
        "yesterday",
        "1709251199",
        "2024-02-30",
        "9999-01-01",
        "",
    ]
    path = write(tmp_path / "t.parquet", product_id=list("abcdefg"), title=["t"] * 7, updated_at=times)
    table = open_table(path, PLAIN, NOW)
    assert [row["product_id"] for row in rows(table)] == ["a", "c", "d", "e", "g"]
    assert refused(table) == [
        ("t.parquet:2", "b", "time_in_future"),
        ("t.parquet:6", "f", "time_in_future"),
    ]
    (batch,) = table.batches()
    assert batch.unread == [
        (1, "updated_at:yesterday"),
        (2, "updated_at:1709251199"),
        (3, "updated_at:2024-02-30"),
    ]
    seconds = pa.array([2**62, 0], pa.timestamp("ms"))
    path = write(tmp_path / "u.parquet", product_id=["a", "b"], title=["t"] * 2, updated_at=seconds)
    table = open_table(path, PLAIN, NOW)
    assert refused(table) == []
    assert [row["updated_at"] for row in rows(table)] == [None, datetime(1970, 1, 1, tzinfo=UTC)]


def test_the_clock_is_used_when_no_time_is_given(tmp_path: Path) -> None:
    soon, late = (datetime.now(UTC) + timedelta(hours=hours) for hours in (23, 25))
    path = write(tmp_path / "t.parquet", product_id=["a", "b"], title=["t"] * 2, updated_at=[soon, late])
    assert refused(open_table(path, PLAIN)) == [("t.parquet:2", "b", "time_in_future")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, None], [1, None]),
        (pa.array([1, 2**63 - 1], pa.uint64()), [1, 2**63 - 1]),
        ([1.0, 2.6, float("nan"), None], [1, 3, None, None]),
        (pa.array([decimal.Decimal("12.00"), None], pa.decimal128(10, 2)), [12, None]),
        (["12", "", " 7 ", None, "-3"], [12, None, 7, None, -3]),
        (["12.0", "1e3", "9007199254740993"], [12, 1000, 9007199254740993]),
    ],
)
def test_sales_of_any_numeric_type(tmp_path: Path, values: object, expected: list[object]) -> None:
    assert column(tmp_path, "sales", values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, False, None], [True, False, None]),
        ([1, 0, None], [True, False, None]),
        ([1.0, 0.0, None], [True, False, None]),
        (["TRUE", "no", ""], [True, False, None]),
    ],
)
def test_deleted_of_any_kind(tmp_path: Path, values: object, expected: list[object]) -> None:
    assert column(tmp_path, "deleted", values) == expected


@pytest.mark.parametrize(
    "values",
    [
        ["12,34", "many", "inf", "1e30", "9223372036854775808"],
        [float("inf"), 1e30, -1e300],
        pa.array([2**63, 2**64 - 1], pa.uint64()),
    ],
)
def test_sales_that_cannot_be_read_cost_the_figure_and_not_the_product(tmp_path: Path, values: Any) -> None:
    ids = [str(n) for n in range(len(values))]
    table = open_table(write(tmp_path / "t.parquet", product_id=ids, title=ids, sales=values), PLAIN)
    (batch,) = table.batches()
    assert batch.unread == [(n, f"sales:{value}") for n, value in enumerate(values)]
    assert [(row["product_id"], row["sales"]) for row in rows(table)] == [(i, None) for i in ids]


@pytest.mark.parametrize("values", [["perhaps", "2", "-"], [2, -1]])
def test_flags_that_cannot_be_read_name_themselves(tmp_path: Path, values: list[object]) -> None:
    ids = [str(n) for n in range(len(values))]
    table = open_table(write(tmp_path / "t.parquet", product_id=ids, title=ids, deleted=values), PLAIN)
    told = [f"deleted_unreadable:{value}" for value in values]
    assert refused(table) == [
        (f"t.parquet:{n}", i, r) for n, (i, r) in enumerate(zip(ids, told, strict=True), 1)
    ]
    assert rows(table) == []


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_pictures_as_bytes(tmp_path: Path, kind: pa.DataType) -> None:
    assert column(tmp_path, "image", pa.array([b"\xff\xd8", None, b""], kind)) == [b"\xff\xd8", None, b""]


def test_pictures_as_struct_path_or_address(tmp_path: Path) -> None:
    struct = [{"bytes": b"x", "path": "x.jpg"}, {"bytes": None, "path": "y.jpg"}, None]
    path = write(tmp_path / "s.parquet", product_id=list("abc"), title=list("abc"), image=struct)
    found = [(row["image"], row["image_path"]) for row in rows(open_table(path, PLAIN))]
    assert found == [(b"x", None), (None, "y.jpg"), (None, None)]
    places = ["a/b.jpg", "https://example.com/a.jpg", "HTTP://x/y", "", None]
    own = [None, None, "https://own", None, "https://own"]
    path = write(
        tmp_path / "p.parquet", product_id=list("abcde"), title=list("abcde"), photo=places, image_url=own
    )
    spec = TableSpec({"image": "photo"})
    found = [(row["image"], row["image_path"], row["image_url"]) for row in rows(open_table(path, spec))]
    assert found == [
        (None, "a/b.jpg", None),
        (None, None, "https://example.com/a.jpg"),
        (None, None, "https://own"),
        (None, None, None),
        (None, None, "https://own"),
    ]


def test_columns_of_nothing_but_nulls(tmp_path: Path) -> None:
    nothing = {name: pa.nulls(2) for name in PRODUCT.names if name != "product_id"}
    path = write(tmp_path / "t.parquet", product_id=["a", "b"], season=pa.nulls(2), **nothing)
    for spec in (PLAIN, TableSpec(category=("title", "brand"), attributes=("season",))):
        assert rows(open_table(path, spec)) == [
            {**dict.fromkeys(PRODUCT.names), "product_id": i} for i in "ab"
        ]
