"""Shards written by processes of their own: the same store as by one, whoever of them dies."""

import dataclasses
import datetime
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.store.store import Store
from mmprod.storage.errors import StateError

MONDAY, TUESDAY = datetime.date(2024, 5, 6), datetime.date(2024, 5, 7)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr("mmprod.datasets.ingest.ingest.WRITERS_FROM", 0)


def days(day_tables):
    """Two days: the second changes every part of some rows, leaves some out, and has rows of every kind."""
    first = day_tables.catalogue(300)
    second = [dict(row) for row in first[:280]]
    for number, row in enumerate(second):
        row["sales"] += 1
        if number % 5 == 0:
            row["title"] += " again"
        if number % 7 == 0:
            row["image"] = None if number % 2 else day_tables.picture(f"other {number}")
        if number % 11 == 0:
            row["deleted"] = True
        if number % 13 == 0:
            row["image"], row["image_url"] = None, "https://pictures.example/one"
    second += [row | {"product_id": f"n{row['product_id']}"} for row in day_tables.catalogue(30, "new")]
    second += [second[3] | {"title": "twice"}, {"product_id": "p00299", "refused": "no price"}]
    return (MONDAY, first), (TUESDAY, second)


def ingest(store, day_tables, day, rows, processes, table=None):
    pictures = day_tables.MemoryPictures({"https://pictures.example/one": day_tables.picture("one")})
    counts = ingest_day(
        store, table or day_tables.MemoryTable(rows), day, full=True, pictures=pictures,
        approve_removals=True, batch_rows=50, processes=processes,
    )  # fmt: skip
    changes = [row for batch in store.changes_of(day) for row in batch.to_pylist()]
    return dataclasses.asdict(counts), changes


@pytest.mark.parametrize("shards", [2, 3])
def test_many_processes_make_what_one_makes(day_tables, tmp_path, shards):
    told = []
    for processes in (1, 2):
        with Store.open(tmp_path / str(processes), shards) as store:
            found = [ingest(store, day_tables, day, rows, processes) for day, rows in days(day_tables)]
            assert store.verify() == []
            told.append((found, store.state_hash(), store.head(), store.field_head(), store.days()))
    assert told[0] == told[1]
    assert not multiprocessing.active_children()


@dataclasses.dataclass
class Fatal:
    """A table during whose third batch a process that writes is killed."""

    table: object

    def __getattr__(self, name):
        return getattr(self.table, name)

    def batches(self, batch_rows):
        for number, batch in enumerate(self.table.batches(batch_rows)):
            if number == 2:
                time.sleep(1)  # until it is at work
                multiprocessing.active_children()[0].kill()
            yield batch


def test_a_killed_writer_ends_the_run_and_the_next_one_does_the_rest(day_tables, tmp_path):
    (_, rows), _ = days(day_tables)
    with Store.open(tmp_path / "store", 2) as store, Store.open(tmp_path / "other", 2) as other:
        with pytest.raises(StateError, match="has ended with -9; what it committed is kept"):
            ingest(store, day_tables, MONDAY, rows, 2, Fatal(day_tables.MemoryTable(rows)))
        assert not multiprocessing.active_children()
        assert store.days() == {}
        ingest(store, day_tables, MONDAY, rows, 2)
        ingest(other, day_tables, MONDAY, rows, 1)
        assert store.state_hash() == other.state_hash()
        assert store.verify() == []


def test_a_writers_full_disk_is_the_runs(day_tables, tmp_path, monkeypatch):
    (_, rows), _ = days(day_tables)
    monkeypatch.setenv("MMPROD_FAULT", "ingest.transaction:2:enospc")
    with Store.open(tmp_path / "store", 2) as store:
        with pytest.raises(OSError, match="No space left"):
            ingest(store, day_tables, MONDAY, rows, 2)
        monkeypatch.delenv("MMPROD_FAULT")
        ingest(store, day_tables, MONDAY, rows, 2)
        assert (store.verify(), store.stats().live) == ([], 300)


def test_writers_end_with_the_process_that_reads_the_table(day_tables, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(f"""
        import datetime, multiprocessing, sys, time
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        import day_tables
        from mmprod.datasets.ingest import ingest
        from mmprod.datasets.store.store import Store

        class Slow(day_tables.MemoryTable):
            def batches(self, batch_rows):
                for number, batch in enumerate(super().batches(batch_rows)):
                    if number == 3:
                        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
                        time.sleep(60)
                    yield batch

        if __name__ == "__main__":
            ingest.WRITERS_FROM = 0
            with Store.open({str(tmp_path / "store")!r}, 2) as store:
                ingest.ingest_day(
                    store, Slow(day_tables.catalogue(300)), datetime.date(2024, 5, 6), full=True,
                    pictures=day_tables.MemoryPictures(), batch_rows=50, processes=2,
                )
        """)
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        pids = [int(word) for word in process.stdout.readline().split()]
        process.send_signal(signal.SIGKILL)
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(running(pid) for pid in pids)
    with Store.open(tmp_path / "store", 2) as store:
        (_, rows), _ = days(day_tables)
        ingest(store, day_tables, MONDAY, rows, 2)
        assert (store.verify(), store.stats().live) == ([], 300)


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_processes_that_are_not_asked_for_do_not_start(day_tables, tmp_path):
    (_, rows), _ = days(day_tables)
    before = os.times().children_user
    with Store.open(tmp_path / "store", 2) as store:
        ingest(store, day_tables, MONDAY, rows, 1)
    assert os.times().children_user == before
