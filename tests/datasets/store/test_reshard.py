"""A store with another number of shards is the same store, and goes on as it would have."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmprod.datasets.identity import day_date, shard_of
from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.store import undo
from mmprod.datasets.store.layout import layout
from mmprod.datasets.store.reshard import reshard
from mmprod.datasets.store.store import Store
from mmprod.storage.errors import InputError, StateError

FIRST = 20_000
PICTURE = b"\xff\xd8\xff\xe0one"
row = st.fixed_dictionaries(
    {
        "product_id": st.sampled_from("abcdefghi"),
        "title": st.sampled_from(["Lamp", "Rug", None]),
        "sales": st.sampled_from([None, 1, -2]),
        "brand": st.sampled_from([None, "Lumo"]),
        "image": st.sampled_from([None, PICTURE, b"\xff\xd8\xff\xe0two", b"<html>"]),
        "deleted": st.sampled_from([False, False, True]),
    }
) | st.fixed_dictionaries(
    {"product_id": st.sampled_from(["a", "k", None]), "refused": st.just("id_missing")},
)
day = st.tuples(st.booleans(), st.integers(0, 3), st.lists(row, min_size=1, max_size=8))
histories = st.lists(day, min_size=1, max_size=4)


def ingest(day_tables, store: Store, full: bool, number: int, rows: list[dict[str, Any]]) -> None:
    """Ingest a day; a table without a product is not delivered."""
    if any("refused" not in row and not row["deleted"] for row in rows):
        ingest_day(
            store, day_tables.MemoryTable(rows), day_date(FIRST + number), full=full,
            pictures=day_tables.MemoryPictures(), approve_removals=True, batch_rows=3,
        )  # fmt: skip


def content(store: Store) -> dict[str, Any]:
    """What does not depend on the number of shards."""
    changes = Counter[str]()
    for number in range(4):
        for batch in store.changes_of(day_date(FIRST + number)):
            changes.update(json.dumps(change, default=str) for change in batch.to_pylist())
    logged = {number: bool(store.logs_of(day_date(FIRST + number))) for number in range(4)}
    products = sorted(store.iterate(live_only=False), key=lambda record: record.product_id)
    pictures = {record.product_id: store.picture(record.image_hash) for record in products}
    return {
        "hash": (store.state_hash(), store.state_hash(days=False)),
        "days": store.days(), "changes": changes, "logged": logged, "products": products,
        "pictures": pictures, "live": (store.stats().live, store.stats().latest_full_day),
    }  # fmt: skip


def order(store: Store, name: str, shards: int) -> Iterator[list[bytes]]:
    """The products by latest change, shard by shard, those apart that go to different ones of `shards`."""
    for shard in store.shards:
        keys = [key for entries, _ in shard.chunks(name) for _, key in entries]
        yield from ([key for key in keys if shard_of(key, shards) == home] for home in range(shards))


def kept(found: list[bytes], wanted: list[bytes]) -> bool:
    """Whether `found` has the products of `wanted` in their order."""
    return [key for key in found if key in wanted] == wanted


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories, st.tuples(st.booleans(), st.integers(0, 4), st.lists(row, min_size=1)), st.data())
def test_a_resharded_store_is_the_one_it_was_and_goes_on(day_tables, history, last, data):
    before, after = data.draw(st.sampled_from([(1, 3), (3, 1), (3, 4), (4, 2)]))
    with tempfile.TemporaryDirectory() as folder:
        path, target = Path(folder) / "store", Path(folder) / "new"
        with Store.open(path, before) as store:
            for full, number, rows in history:
                ingest(day_tables, store, full, number, rows)
            wanted = content(store)
            heads = store.head(), store.field_head()
            orders = {name: list(order(store, name, after)) for name in ("sequence", "field_sequence")}
        said: list[int] = []
        reshard(path, target, after, said.append)
        assert sum(said) >= 2 * len(wanted["products"])
        with Store.open(path) as store, Store.open(target, after) as new:
            assert content(new) == wanted == content(store)
            assert new.verify() == []
            assert new.numbering == (1, heads, (new.head(), new.field_head()))
            for name, found in orders.items():
                now = list(order(new, name, 1))
                for number, keys in enumerate(found):
                    assert kept(now[number % after], keys)
            for each in (store, new):
                ingest(day_tables, each, last[0], last[1], last[2])
            assert content(new)["hash"] == content(store)["hash"]
            assert content(new)["live"] == content(store)["live"]
            assert new.verify() == []


@pytest.fixture
def path(day_tables, tmp_path: Path) -> Path:
    with Store.open(tmp_path / "store", 3) as store:
        for number in (0, 1):
            ingest_day(
                store, day_tables.MemoryTable(day_tables.catalogue(60, str(number))),
                day_date(FIRST + number), full=True, pictures=day_tables.MemoryPictures(),
            )  # fmt: skip
    return tmp_path / "store"


def test_back_and_forth_each_numbering_is_another(path: Path, tmp_path: Path) -> None:
    reshard(path, tmp_path / "two", 2)
    reshard(tmp_path / "two", tmp_path / "three", 3)
    with Store.open(path) as store, Store.open(tmp_path / "three") as again:
        assert again.state_hash() == store.state_hash()
        assert (store.numbering.number, again.numbering.number) == (0, 2)
        assert layout(again.path) == layout(path) == (2, 3)
        again.compact(tmp_path / "copy")
    with Store.open(tmp_path / "copy") as copy:
        assert copy.numbering.number == 2


def test_pictures_that_nobody_uses_stay_behind_others_are_there_once_a_shard(
    day_tables, path: Path, tmp_path: Path
) -> None:
    with Store.open(path) as store:
        rows = [row | {"image": PICTURE} for row in day_tables.catalogue(60, "1")]
        ingest(day_tables, store, True, 2, [row | {"deleted": False} for row in rows])
        assert store.stats().pictures > 60
    reshard(path, tmp_path / "new", 4)
    with Store.open(tmp_path / "new") as new:
        assert new.stats().pictures == 4


def test_a_day_after_it_can_be_undone_also_in_an_empty_shard(day_tables, tmp_path: Path) -> None:
    path, target = tmp_path / "store", tmp_path / "new"
    with Store.open(path) as store:
        ingest(day_tables, store, True, 0, [row | {"deleted": False} for row in day_tables.catalogue(3)])
    reshard(path, target, 7)
    with Store.open(target) as new:
        before = new.state_hash()
        with pytest.raises(InputError, match="can't be taken back"):
            new.undo_day(day_date(FIRST))
        ingest(day_tables, new, True, 1, [row | {"deleted": False} for row in day_tables.catalogue(30)])
        assert new.undo_day(day_date(FIRST + 1)) == 27
        assert new.state_hash() == before


@pytest.mark.parametrize("shards_done", [0, 1, 2])
def test_what_is_half_undone_is_finished_first(path: Path, tmp_path: Path, shards_done: int) -> None:
    day = day_date(FIRST + 1)
    with Store.open(path) as store:
        heads = [shard.read(undo.heads)[-1] for shard in store.shards]
        for shard, head in zip(store.shards[:shards_done], heads, strict=False):
            undo.take_back(shard, head)
        shard, head = store.shards[shards_done], heads[shards_done]
        shard.transact(lambda view: undo._restore(view, head))
    with pytest.raises(StateError, match=f"{day} is undone in part"):
        reshard(path, tmp_path / "new", 2)
    with Store.open(path) as store:
        store.undo_day(day)
    reshard(path, tmp_path / "new", 2)


def test_what_can_not_be_resharded_is_left_as_it_is(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    with pytest.raises(InputError, match="has 3 shards, 3 are wanted"):
        reshard(path, target, 3)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="there exists"):
        reshard(path, tmp_path / "there", 2)
    with Store.open(path), pytest.raises(StateError, match="open in this process"):
        reshard(path, target, 2)
    file = path / "shard-001" / "data.mdb"
    file.write_bytes(file.read_bytes().replace(b"Lamp ", b"Lump "))
    with pytest.raises(StateError, match="checksum"):
        reshard(path, target, 2)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["store", "there"]
