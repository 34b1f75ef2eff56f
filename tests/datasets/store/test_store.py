"""The store as others see it: reading, following changes, damage, copies, several processes."""

import datetime
import os
import pickle
import signal
import subprocess
import sys
from itertools import pairwise

import pyarrow.parquet as pq
import pytest

from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.schemas import PRODUCT, check
from mmprod.datasets.store import lmdb_environment, undo
from mmprod.datasets.store.copies import copy_bytes
from mmprod.datasets.store.store import Store
from mmprod.datasets.tables.table import TableSpec, open_table
from mmprod.storage.errors import InputError, StateError

MONDAY, TUESDAY = datetime.date(2024, 5, 6), datetime.date(2024, 5, 7)


@pytest.fixture
def ingest(day_tables):
    def run(store, day, rows, full=True, **options):
        return ingest_day(
            store, day_tables.MemoryTable(rows), day, full=full, pictures=day_tables.MemoryPictures(),
            **options,
        )  # fmt: skip

    return run


@pytest.fixture(params=[1, 3])
def store(tmp_path, request, ingest, day_tables):
    """120 products of Monday, of which Tuesday changed 10 and removed 20."""
    with Store.open(tmp_path / "store", shards=request.param) as opened:
        ingest(opened, MONDAY, day_tables.catalogue(120))
        ingest(opened, TUESDAY, day_tables.catalogue(10, "new") + day_tables.catalogue(100)[10:])
        yield opened


def test_records_come_in_the_order_asked_for(store):
    found = store.get_many(["p00003", "nobody", "p00119", "p00003"])
    assert [record and record.product_id for record in found] == ["p00003", None, "p00119", "p00003"]
    assert (found[0].title, found[0].category, found[2].live) == ("Lamp 3 new", ("Home", "Lamps"), False)
    assert store.state("nobody") is None
    assert store.picture(b"0" * 16) is None


def test_all_are_seen_once_in_chunks(store, monkeypatch):
    monkeypatch.setattr("mmprod.datasets.store.view.CHUNK", 7)
    live = [f"p{i:05d}" for i in range(100)]
    assert sorted(record.product_id for record in store.iterate()) == sorted(store.live_ids()) == live
    assert len(list(store.iterate(live_only=False))) == 120


def test_a_consumer_reads_what_changed_since_its_position(store, ingest, day_tables):
    everything = {change.product_id: change.live for change in store.changes_since()}
    assert (len(everything), sum(everything.values())) == (120, 100)
    position = store.head()
    assert list(store.changes_since(position)) == []
    rows = [*day_tables.catalogue(2, "newer"), day_tables.catalogue(111)[110]]
    ingest(store, TUESDAY, rows, full=False)
    ingest(store, TUESDAY, [rows[0] | {"title": "last word"}], full=False)
    changes = {change.product_id: change for change in store.changes_since(position)}
    assert sorted(changes) == ["p00000", "p00001", "p00110"]
    assert changes["p00000"].text_hash == store.get("p00000").text_hash
    assert all(change.live for change in changes.values())
    assert len(list(store.changes_since())) == 120  # one entry a product, however often it changes


def test_a_consumer_may_read_in_spans(store, ingest, day_tables, monkeypatch):
    monkeypatch.setattr("mmprod.datasets.store.view.CHUNK", 7)
    start, middle = tuple(at // 2 for at in store.head()), store.head()
    ingest(store, TUESDAY, day_tables.catalogue(30, "newer"), full=False)
    cuts = [None, start, middle, store.head()]
    spans = [[c.product_id for c in store.changes_since(*cut)] for cut in pairwise(cuts)]
    assert sorted(id_ for span in spans for id_ in span) == [f"p{i:05d}" for i in range(120)]
    assert set(spans[2]) == {f"p{i:05d}" for i in range(30)}
    assert list(store.changes_since(middle, middle)) == []


def test_a_position_of_another_store_is_refused(store):
    for position in [(0,) * 7, tuple(n + 1 for n in store.head())]:
        with pytest.raises(StateError, match="is not of this store"):
            list(store.changes_since(position))


def test_stats_count_what_is_there(store):
    stats = store.stats()
    assert (stats.live, stats.removed, stats.pictures, stats.days) == (100, 20, 130, 2)
    assert stats.latest_full_day == "2024-05-07"
    assert 0 < stats.map_fill < 1
    assert stats.free_pages >= 0
    assert stats.bytes % 4096 == 0
    assert store.days()["2024-05-07"]["counts"]["removed_by_absence"] == 20


def test_opening_is_quick_and_a_reader_sees_commits_of_another_process(store):
    code = (
        "import time; from mmprod.datasets.store.store import Store\n"
        "started = time.perf_counter()\n"
        f"with Store.open({str(store.path)!r}, read_only=True) as store:\n"
        "    print(time.perf_counter() - started, len(list(store.live_ids())), store.state_hash())"
    )
    seconds, live, digest = run_python(code).split()
    assert float(seconds) < 0.05 * len(store.shards)
    assert (int(live), digest) == (100, store.state_hash())


def run_python(code, **options):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_store_goes_to_other_processes_by_its_path(store):
    code = f"""
import pickle
with pickle.loads({pickle.dumps(store)!r}) as store:
    print(store.get("p00000").title, store.writable)
"""
    assert run_python(code).strip() == "Lamp 0 new False"


def test_a_second_writer_is_refused_and_told_who_writes(store):
    code = f"from mmprod.datasets.store.store import Store; Store.open({str(store.path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"StateError: {store.path}: another run is writing (pid {os.getpid()})" in done.stderr


def test_a_closed_or_killed_writer_leaves_no_lock(store):
    store.close()
    code = f"""
import os, signal
from mmprod.datasets.store.store import Store
Store.open({str(store.path)!r})
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    with Store.open(store.path) as again:
        assert again.stats().live == 100


def test_what_is_no_store_or_another_one_is_refused(store, tmp_path):
    with pytest.raises(StateError, match="no product store here"):
        Store.open(tmp_path / "nowhere", read_only=True)
    assert not (tmp_path / "nowhere").exists()
    count = len(store.shards)
    store.close()
    with pytest.raises(StateError, match=f"has {count} shards, 7 are configured"):
        Store.open(store.path, shards=7)
    with Store.open(store.path) as again:
        assert len(again.shards) == count
    for number, cure in ((1, "run `mmprod store migrate`"), (3, "make it anew")):
        (store.path / "store.json").write_text(f'{{"format": {number}, "shards": 1}}')
        with pytest.raises(StateError, match=f"store format {number}, this version reads 2; {cure}"):
            Store.open(store.path)


@pytest.mark.parametrize("size", [0, 100, 4096, 8192, 40_000])
def test_a_truncated_file_is_an_error_and_no_signal(store, size):
    store.close()
    file = store.path / "shard-000/data.mdb"
    os.truncate(file, size)
    for read_only in (True, False):
        with pytest.raises(StateError, match=r"data\.mdb.*(truncated: \d+ bytes|not an LMDB)"):
            Store.open(store.path, read_only=read_only)


@pytest.mark.parametrize("what", ["title", "picture", "state"])
def test_a_flipped_byte_is_reported_and_never_read(store, what):
    record = store.get("p00003")
    marks = {"title": b"Lamp 3 new", "picture": store.picture(record.image_hash), "state": record.text_hash}
    assert store.verify() == []
    store.close()
    flip_everywhere(store.path, marks[what])
    with Store.open(store.path, read_only=True) as damaged:
        with pytest.raises(StateError, match=r"\w+\[\w+\] carries checksum \w{8}, its bytes give \w{8}"):
            damaged.picture(damaged.get("p00003").image_hash)
        assert damaged.get("p00004").title == "Lamp 4 new"
        assert any("carries checksum" in problem for problem in damaged.verify())


def flip_everywhere(path, mark):
    for file in path.glob("shard-*/data.mdb"):
        data = file.read_bytes()
        file.write_bytes(data.replace(mark, mark[:-1] + bytes([mark[-1] ^ 4])))


@pytest.mark.parametrize(
    ("database", "problem"),
    [
        ("records", "record is missing"),
        ("pictures", "is missing"),
        ("sequence", "are live"),
        ("field_sequence", "have numbered fields"),
        ("states", "no readable"),
    ],
)
def test_verify_names_what_does_not_belong_together(store, database, problem):
    shard = store.shards[0]
    with shard.environment.begin(write=True) as txn, txn.cursor(db=shard._databases[database]) as cursor:
        cursor.last()
        cursor.delete()
    assert any(problem in text for text in store.verify())


def test_verify_counts_every_entry(store):
    seen = []
    store.verify(seen.append)
    changes = 120 + 10 + 20 + 2 * len(store.shards)  # and the name of each day's log
    ways_back = (2 + 2) * len(store.shards)  # what Tuesday changed and left out, and the days' heads
    assert seen[-1] == 120 + 120 + 120 + 130 + changes + ways_back


def test_a_full_map_grows_under_a_reader(tmp_path, ingest, day_tables, monkeypatch):
    monkeypatch.setattr(lmdb_environment, "FIRST_MAP", 1 << 19)
    with Store.open(tmp_path / "store") as store:
        ingest(store, MONDAY, day_tables.catalogue(10))
        code = f"""
from mmprod.datasets.store.store import Store
with Store.open({str(store.path)!r}, read_only=True) as store:
    print(len(list(store.live_ids())), flush=True)
    input()
    print(len(list(store.iterate())))
"""
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as reader:
            assert reader.stdout.readline() == "10\n"
            ingest(store, TUESDAY, day_tables.catalogue(900, size=3000))
            assert reader.communicate("\n")[0] == "900\n"
        assert store.shards[0].environment.info()["map_size"] >= 1 << 22
        assert store.verify() == []


def test_compacting_drops_free_pages_and_pictures_nobody_has(store, ingest, day_tables, tmp_path):
    target = tmp_path / "compacted"
    store.compact(tmp_path / "before")
    assert store.stats().pictures == 130  # Monday's ten changed ones are back if Tuesday is taken back
    for shard in store.shards:
        undo.forget(shard, 0)
    store.compact(target)
    digest, size = store.state_hash(), store.stats().bytes
    assert store.stats().pictures == 120  # of the 130, Monday's ten changed ones are gone
    store.close()
    with Store.open(target) as copy:
        assert (copy.state_hash(), copy.verify(), copy.stats().bytes < size) == (digest, [], True)
        assert copy.get("p00003").title == "Lamp 3 new"
        ingest(copy, TUESDAY, day_tables.catalogue(100), approve_removals=True)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_compacting_needs_the_lock_and_a_free_name(store, tmp_path):
    with pytest.raises(InputError, match="exists"):
        store.compact(tmp_path)
    store.close()
    with Store.open(store.path, read_only=True) as reader, pytest.raises(StateError, match="read only"):
        reader.compact(tmp_path / "new")


def test_an_export_is_a_product_table_that_makes_the_same_catalogue(store, tmp_path, day_tables):
    noon = datetime.datetime(2024, 5, 7, 12, tzinfo=datetime.UTC)
    row = {
        "product_id": "0012", "title": "灯 <b>", "image_url": "http://x/1", "category": ["家"], "spu_id": "s",
        "brand": "b", "updated_at": noon, "attributes": [("颜色", "红"), ("size", "")],
    }  # fmt: skip
    pictures = day_tables.MemoryPictures({"http://x/1": day_tables.picture("web")})
    options = {"full": False, "pictures": pictures}
    ingest_day(store, day_tables.MemoryTable([row]), TUESDAY, **options)
    assert store.export(tmp_path / "out/products.parquet") == 101
    check(pq.read_table(tmp_path / "out/products.parquet"), PRODUCT, "export")
    table = open_table(tmp_path / "out/products.parquet", TableSpec())
    with Store.open(tmp_path / "copy") as copy:
        counts = ingest_day(copy, table, TUESDAY + datetime.timedelta(9), **(options | {"full": True}))
        assert (counts.added, counts.quarantined, counts.pictures_rejected) == (101, 0, 0)
        assert copy.state_hash(days=False) == store.state_hash(days=False)
        assert copy.state_hash() != store.state_hash()
        assert copy.get("0012").attributes == store.get("0012").attributes
    assert pictures.asked == ["http://x/1"]


def test_a_copy_takes_the_room_that_is_asked_for(store, tmp_path):
    store.compact(tmp_path / "copy")
    written = sum(file.stat().st_size for file in tmp_path.glob("copy/*/data.mdb"))
    assert written <= copy_bytes(store.shards) <= 1.05 * written
