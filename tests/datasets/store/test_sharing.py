"""Several who read one store in a process, and a writer elsewhere that makes it grow meanwhile."""

import datetime
import subprocess
import sys
import threading

import pytest

from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.store.store import Store
from mmprod.storage.errors import StateError

MONDAY = datetime.date(2024, 5, 6)
GROW = """
import sys, datetime
from mmprod.datasets.store.store import Store
store = Store.open(sys.argv[1])
for shard in store.shards:
    shard.transact(lambda view: view.put("pictures", [(b"%016d" % i, bytes(1_000_000)) for i in range(100)]))
print("grown")
"""


@pytest.fixture
def path(tmp_path, day_tables):
    with Store.open(tmp_path / "store", shards=1) as store:
        table, pictures = day_tables.MemoryTable(day_tables.catalogue(60)), day_tables.MemoryPictures()
        ingest_day(store, table, MONDAY, full=True, pictures=pictures)
    return tmp_path / "store"


def test_readers_share_a_store_and_each_closes_its_own(path) -> None:
    one, other = Store.open(path, read_only=True), Store.open(path, read_only=True)
    one.close()
    assert other.get("p00003") is not None
    other.close()
    with Store.open(path) as writer:
        assert writer.get("p00003") is not None


def test_a_writer_beside_a_reader_of_the_same_process_is_told_what_to_do(path) -> None:
    with Store.open(path, read_only=True), pytest.raises(StateError, match="open in this process already"):
        Store.open(path)


def test_threads_read_on_while_another_process_makes_the_map_grow(path) -> None:
    """Taking a grown map over moves it: no thread may be reading from the old one then."""
    failed: list[Exception] = []
    done = threading.Event()
    with Store.open(path, read_only=True) as store:
        before = store.shards[0].environment.info()["map_size"]

        def read() -> None:
            try:
                while not done.is_set():
                    assert sum(1 for _ in store.iterate()) == 60
            except Exception as error:  # noqa: BLE001  (told by the test)
                failed.append(error)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        told = subprocess.run(
            [sys.executable, "-P", "-c", GROW, str(path)], capture_output=True, text=True, check=True
        )
        assert store.get("p00003") is not None
        done.set()
        for thread in threads:
            thread.join()
        assert (told.stdout.strip(), failed) == ("grown", [])
        assert store.shards[0].environment.info()["map_size"] > before
