"""Which products become candidates, and by what rule the others do not; nothing is lost on the way."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.pairs.options import Selection
from mmprod.datasets.pairs.pairs import CANDIDATE, PAIR, REJECTED, candidates, identity, numbered
from mmprod.datasets.pairs.select import cap, select
from mmprod.datasets.store.store import Store
from mmprod.storage.errors import InputError


def table(rows: list[dict[str, Any]]) -> pa.Table:
    fixed = {
        "title": "Lamp",
        "category": "Home > Lamps",
        "image_hash": b"x" * 16,
        "active_day": date(2024, 1, 9),
    }
    numbered = [{"product_id": f"p{at:03d}", **fixed, **row} for at, row in enumerate(rows)]
    return pa.Table.from_pylist(numbered, CANDIDATE)


def names(found: pa.Table) -> list[str]:
    return found["product_id"].to_pylist()


def reasons(rejected: pa.Table) -> dict[str, tuple[str, float | None]]:
    assert rejected.schema == REJECTED
    return {row["product_id"]: (row["reason"], row["value"]) for row in rejected.to_pylist()}


def test_candidates_are_the_live_products_with_picture_and_title(tmp_path: Path, day_tables) -> None:
    late = datetime(2024, 1, 3, 23, tzinfo=UTC)
    rows = [
        {**day_tables.catalogue(1)[0], "product_id": "b", "spu_id": "S", "updated_at": late},
        {
            "product_id": "a",
            "title": "Ａ  <b>lamp</b>",
            "image": day_tables.picture("a"),
            "category": ["X", "Y"],
        },
        {"product_id": "mute", "title": " ", "image": day_tables.picture("c")},
        {"product_id": "blind", "title": "Lamp"},
        {"product_id": "neither"},
        {**day_tables.catalogue(1)[0], "product_id": "gone", "deleted": True},
    ]
    with Store.open(tmp_path / "store", shards=3) as store:
        sources = day_tables.MemoryTable(rows), day_tables.MemoryPictures()
        ingest_day(store, sources[0], date(2024, 1, 5), full=True, pictures=sources[1])
        found, rejected = candidates(store.iterate())
    assert names(found) == ["a", "b"]
    assert found["title"].to_pylist()[0] == "A lamp"
    assert found["category"].to_pylist() == ["X > Y", "Home > Lamps"]
    assert found["active_day"].to_pylist() == [date(2024, 1, 5), date(2024, 1, 3)]
    wanted = {"mute": "no_title", "blind": "no_picture", "neither": "no_picture"}
    assert reasons(rejected) == {name: (reason, None) for name, reason in wanted.items()}


def test_numbers_are_equal_where_values_are() -> None:
    rows = [
        {"title": "Red Lamp", "spu_id": "s", "image_hash": b"1" * 16},
        {"title": "RED LAMP", "image_hash": b"2" * 16},
        {"title": "Straße", "spu_id": "t", "image_hash": b"1" * 16},
        {"title": "STRASSE", "spu_id": "s", "image_hash": b"3" * 16},
    ]
    pairs = numbered(table(rows))
    assert pairs.schema == PAIR
    assert identity(pairs).tolist() == [[0, 0, 0], [-1, 1, 0], [1, 0, 1], [0, 2, 1]]


def test_sales_are_compared_within_the_category() -> None:
    few, many = (
        [{"sales": n, "category": "A > B > C"} for n in range(5)],
        [{"sales": 100 * n} for n in range(4)],
    )
    kept, rejected = select(table([*few, *many, {"sales": None}]), Selection(sales_quantile=0.5))
    assert names(kept) == ["p002", "p003", "p004", "p006", "p007", "p008"]
    assert reasons(rejected) == {
        "p000": ("low_sales", 0), "p001": ("low_sales", 1), "p005": ("low_sales", 0), "p009": ("low_sales", 0)
    }  # fmt: skip
    kept, _ = select(table([*few, *many]), Selection(sales_quantile=0.5, level=0))
    assert names(kept) == ["p003", "p004", "p006", "p007", "p008"]  # the median is 3


def test_where_no_sales_are_known_all_stay() -> None:
    kept, _ = select(table([{} for _ in range(5)]), Selection(sales_quantile=0.9))
    assert len(kept) == 5


def test_activity_counts_back_from_the_latest_day() -> None:
    rows = [{"active_day": date(2024, 1, day)} for day in (31, 30, 1)]
    kept, rejected = select(table(rows), Selection(active_days=1))
    assert names(kept) == ["p000", "p001"]
    assert reasons(rejected) == {"p002": ("inactive", 30.0)}


def test_categories_are_whole_levels() -> None:
    rows = [{"category": path} for path in ("A > B > C", "A > B", "A > Bags", "Z", "")]
    kept, rejected = select(table(rows), Selection(categories=("A > B", "Z")))
    assert names(kept) == ["p000", "p001", "p003"]
    assert set(reasons(rejected).values()) == {("category", None)}
    with pytest.raises(InputError, match=r"'A > Q'.* A, Z"):
        select(table(rows), Selection(categories=("A > Q",)))


def test_a_cap_takes_the_same_products_each_time_and_new_ones_displace_few() -> None:
    selection = Selection(max_per_category=20)
    rows = [{"category": f"C{at % 3} > x"} for at in range(150)]
    kept, rejected = cap(table(rows), selection)
    assert len(kept) == 60
    assert sorted(value for _, value in reasons(rejected).values()) == sorted([*range(21, 51)] * 3)
    assert names(cap(table(rows), selection)[0]) == names(kept)
    more, _ = cap(table([*rows, {"category": "C0 > x"}]), selection)
    assert len(set(names(kept)) - set(names(more))) <= 1
    other, _ = cap(table(rows), Selection(max_per_category=20, seed=1))
    assert names(other) != names(kept)


ROW = st.fixed_dictionaries(
    {
        "sales": st.none() | st.integers(0, 9),
        "category": st.sampled_from(["", "A", "A > B", "A > B > C", "D"]),
        "active_day": st.dates(date(2024, 1, 1), date(2024, 1, 9)),
    }
)
SELECTION = st.builds(
    Selection,
    sales_quantile=st.sampled_from([0.0, 0.3, 0.9]),
    active_days=st.none() | st.integers(0, 9),
    max_per_category=st.none() | st.integers(1, 4),
    level=st.integers(0, 3),
)


@given(st.lists(ROW, max_size=30), SELECTION)
def test_kept_and_rejected_are_all_there_were(rows, selection: Selection) -> None:
    given_ = table(rows)
    kept, out = select(given_, selection)
    kept, over = cap(kept, selection)
    assert sorted(names(kept) + names(out) + names(over)) == names(given_)
    if selection.max_per_category is None and not selection.sales_quantile and selection.active_days is None:
        assert kept == given_
