"""A day taken back leaves the store as if it had never come."""

import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.store.layout import Position
from mmprod.datasets.store.store import Store
from mmprod.storage.errors import InputError

FIRST, WRONG = date(2025, 3, 1), date(2205, 3, 3)


class Shop:
    """Days of a small shop."""

    def __init__(self, tables: Any) -> None:
        self.tables = tables
        self.catalogue = tables.catalogue

    def ingest(self, store: Store, day: date, rows: list[dict[str, Any]], full: bool = True) -> None:
        ingest_day(
            *(store, self.tables.MemoryTable(rows), day),
            full=full,
            pictures=self.tables.MemoryPictures(),
            approve_removals=True,
            batch_rows=7,
        )

    def changed(self, rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
        """Another day: some products gone, some changed, some new, some deleted or unusable."""
        draw = random.Random(seed)
        found = [dict(row) for row in rows if draw.random() > 0.2]
        for row in found:
            kind = draw.randrange(6)
            if kind == 0:
                row["title"] += f" {seed}"
            elif kind == 1:
                row["sales"] = draw.randrange(1000)
            elif kind == 2:
                row["deleted"] = True
            elif kind == 3 and draw.random() < 0.5:
                row["refused"] = "sales_unreadable"
        return found + [
            {**row, "product_id": f"n{seed}-{row['product_id']}"} for row in self.catalogue(5, str(seed))
        ]


@pytest.fixture
def shop(day_tables: Any) -> Shop:
    return Shop(day_tables)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_a_day_taken_back_never_was(shop: Shop, tmp_path: Path, shards: int, seed: int) -> None:
    first = shop.catalogue(40)
    with Store.open(tmp_path / "a", shards) as store, Store.open(tmp_path / "b", shards) as other:
        for each in (store, other):
            shop.ingest(each, FIRST, first)
            shop.ingest(each, FIRST + timedelta(1), shop.changed(first, seed))
        shop.ingest(store, WRONG, shop.changed(first, seed + 100), full=seed % 2 == 0)
        if seed % 3 == 0:  # the same day again, with another table
            shop.ingest(store, WRONG, shop.changed(first, seed + 200))
        assert store.undo_day(WRONG) > 0
        assert store.state_hash() == other.state_hash()
        assert list(store.days()) == list(other.days())
        assert store.verify() == []
        third = shop.changed(first, seed + 300)
        for each in (store, other):
            shop.ingest(each, FIRST + timedelta(2), third)
        assert store.state_hash() == other.state_hash()
        assert sorted(store.live_ids()) == sorted(other.live_ids())
        assert store.verify() == []


def heard(store: Store, position: Position | None) -> dict[str, tuple[bytes, bool]]:
    return {each.product_id: (each.image_hash, each.live) for each in store.changes_since(position)}


def test_whoever_follows_the_store_hears_of_it(shop: Shop, tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        shop.ingest(store, FIRST, shop.catalogue(30))
        position = store.head()
        before = heard(store, None)
        shop.ingest(store, WRONG, shop.changed(shop.catalogue(30), 5))
        seen = before | heard(store, position)
        later = store.head()
        store.undo_day(WRONG)
        seen |= {each.product_id: (each.image_hash, each.live) for each in store.changes_since(later)}
        assert {key: value for key, value in seen.items() if value[1]} == {
            k: v for k, v in before.items() if v[1]
        }


def test_days_go_back_newest_first(shop: Shop, tmp_path: Path) -> None:
    days = [FIRST + timedelta(n) for n in range(6)]
    with Store.open(tmp_path / "s") as store:
        for number, day in enumerate(days):
            shop.ingest(store, day, shop.changed(shop.catalogue(30), number))
        with pytest.raises(InputError, match=r"after 2025-03-05 came 2025-03-06: take these back first"):
            store.undo_day(days[4])
        with pytest.raises(InputError, match=r"can't be taken back: these can, newest first: 2025-03-06"):
            store.undo_day(days[2])
        for day in reversed(days[3:]):
            store.undo_day(day)
        with Store.open(tmp_path / "o") as other:
            for number, day in enumerate(days[:3]):
                shop.ingest(other, day, shop.changed(shop.catalogue(30), number))
            assert store.state_hash() == other.state_hash()


def test_the_first_day_is_no_way_back(shop: Shop, tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        shop.ingest(store, FIRST, shop.catalogue(30))
        with pytest.raises(InputError, match="is the store's first day"):
            store.undo_day(FIRST)


def test_pictures_of_the_way_back_survive_compaction(shop: Shop, tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        shop.ingest(store, FIRST, shop.catalogue(30))
        before = store.state_hash()
        shop.ingest(store, FIRST + timedelta(1), shop.catalogue(30, "other"))
        store.compact(tmp_path / "copy")
    with Store.open(tmp_path / "copy") as store:
        store.undo_day(FIRST + timedelta(1))
        assert (store.state_hash(), store.verify()) == (before, [])
