"""A store of format 1, made from one of format 2 by the old rules, becomes the same store again."""

import json
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmprod.datasets.identity import content_hash, day_date
from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.store import record
from mmprod.datasets.store.checked_values import seal, unseal
from mmprod.datasets.store.migrate import _OLD, migrate
from mmprod.datasets.store.shard import Shard
from mmprod.datasets.store.state import ABSENT, LAYOUT
from mmprod.datasets.store.store import Store
from mmprod.datasets.volatile import NAMES, decode_attributes
from mmprod.storage.errors import InputError, StateError

row = st.fixed_dictionaries(
    {
        "product_id": st.sampled_from("abcdef"),
        "title": st.sampled_from(["Lamp", "Rug", None]),
        "sales": st.sampled_from([None, 1, -2]),
        "brand": st.sampled_from([None, "Lumo"]),
        "category": st.sampled_from([None, ["Home", "Lamps"]]),
        "categories": st.sampled_from([None, ["Sale"]]),
        "attributes": st.sampled_from([None, [("price", "1"), ("hue", "red")], [("hue", None)]]),
        "image": st.sampled_from([None, b"\xff\xd8\xff\xe0one", b"<html>"]),
        "deleted": st.sampled_from([False, False, True]),
    }
)
histories = st.lists(st.tuples(st.booleans(), st.lists(row, min_size=1, max_size=6)), min_size=1, max_size=3)


def as_format_1(path: Path) -> None:
    """Rewrite a store by the rules of format 1; its states carry no digests there."""
    shards = json.loads((path / "store.json").read_text())["shards"]
    for number in range(shards):
        with closing(Shard(path / f"shard-{number:03d}", False)) as shard:
            bodies = {
                key: unseal("records", key, value)
                for each, _ in shard.chunks("records")
                for key, value in each
            }
            states, records = [], []
            for entries, _ in shard.chunks("states"):
                for key, value in entries:
                    body = unseal("states", key, value)
                    fixed = list(LAYOUT.unpack_from(body))
                    sales = None if fixed[10] == ABSENT else fixed[10]
                    if key in bodies:
                        title, reason, fields = record.parts(bodies[key])
                        parts = json.loads(fields)
                        volatile = decode_attributes(body[LAYOUT.size :])
                        pairs = sorted((dict(parts[3]) | volatile).items())
                        parts[3:4] = [sales, pairs]
                        old = json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()
                        fixed[2] = content_hash(old)
                        records.append((key, seal(key, record.body(title, reason, old))))
                    states.append((key, seal(key, _OLD.pack(*fixed[:10], fixed[13]))))
            shard.transact(lambda view, s=states, r=records: (view.put("states", s), view.put("records", r)))
            with shard.environment.begin(write=True) as txn:
                for name in ("field_sequence", "undo"):
                    txn.drop(shard._databases[name])
    (path / "store.json").write_text(json.dumps({"format": 1, "shards": shards}))


def ingested(day_tables, path: Path, history, shards: int) -> None:
    with Store.open(path, shards) as store:
        for number, (full, rows) in enumerate(history):
            ingest_day(
                store, day_tables.MemoryTable(rows), day_date(20_000 + number), full=full,
                pictures=day_tables.MemoryPictures(), approve_removals=True,
            )  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories, st.sampled_from([1, 3]))
def test_a_migrated_store_is_the_one_it_was(day_tables, history, shards):
    if all(row["deleted"] for _, rows in history[:1] for row in rows):
        return
    with tempfile.TemporaryDirectory() as folder:
        path, target = Path(folder) / "store", Path(folder) / "new"
        ingested(day_tables, path, history, shards)
        with Store.open(path, read_only=True) as store:
            before = store.state_hash(), store.head(), store.days(), store.stats().live
            count = sum(1 for _ in store.iterate(live_only=False))
        as_format_1(path)
        said = []
        assert migrate(path, target, NAMES, said.append) == count
        assert sum(said) >= count
        with Store.open(target) as store:
            assert (store.state_hash(), store.head(), store.days(), store.stats().live) == before
            assert store.field_head() == store.head()
            assert store.verify() == []
            full, rows = history[-1]
            ingest_day(
                store, day_tables.MemoryTable(rows), day_date(20_000 + len(history) - 1), full=full,
                pictures=day_tables.MemoryPictures(), approve_removals=True,
            )  # fmt: skip
            assert (store.state_hash(), store.head()) == before[:2]


def test_a_damaged_or_new_store_is_left_as_it_is(day_tables, tmp_path):
    path, target = tmp_path / "store", tmp_path / "new"
    ingested(day_tables, path, [(True, day_tables.catalogue(30))], 1)
    with pytest.raises(StateError, match="only format 1 is migrated"):
        migrate(path, target, NAMES)
    as_format_1(path)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="there exists"):
        migrate(path, tmp_path / "there", NAMES)
    file = path / "shard-000" / "data.mdb"
    data = file.read_bytes()
    at = data.rindex(b"Lamp 7")
    file.write_bytes(data[:at] + b"L" + bytes([data[at + 1] ^ 1]) + data[at + 2 :])
    with pytest.raises(StateError, match="carries checksum"):
        migrate(path, target, NAMES)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store", "there"]
