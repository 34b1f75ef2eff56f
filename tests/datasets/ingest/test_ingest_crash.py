"""Killed or out of disk at any point, then run again: the store is as if nothing had happened."""

import datetime
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmprod.datasets.store.store import Store

HERE = Path(__file__).parents[1]

RUN = f"""
import datetime, sys
sys.path.append({str(HERE)!r})
from day_tables import MemoryPictures, MemoryTable, catalogue
from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.store.store import Store

MONDAY, TUESDAY = datetime.date(2024, 5, 6), datetime.date(2024, 5, 7)
FIRST = catalogue(60)
SECOND = catalogue(15, "new") + catalogue(50)[15:] + [
    {{"product_id": "p00055", "refused": "bad"}},
    {{"product_id": "p00020", "title": "twice"}},
    {{"product_id": "p00021", "deleted": True}},
    {{"product_id": "n", "title": "new"}},
]

def run(path, day, rows, **options):
    with Store.open(path, shards=2) as store:
        ingest_day(store, MemoryTable(rows), day, full=True, pictures=MemoryPictures(),
                   batch_rows=20, **options)
"""
MONDAY, TUESDAY = "run({!r}, MONDAY, FIRST)", "run({!r}, TUESDAY, SECOND)"


def start(line, path, fault=""):
    environ = os.environ | {"MMPROD_FAULT": fault}
    return subprocess.run(
        [sys.executable, "-c", RUN + line.format(str(path))],
        capture_output=True,
        text=True,
        check=False,
        env=environ,
    )  # fmt: skip


def told(path, folder):
    """State hash, the export without its order, and what Tuesday did."""
    with Store.open(path) as store:
        assert store.verify() == []
        store.export(folder / "export.parquet")
        rows = sorted(map(str, pq.read_table(folder / "export.parquet").to_pylist()))
        changes = [row for batch in store.changes_of(datetime.date(2024, 5, 7)) for row in batch.to_pylist()]
        return store.state_hash(), rows, changes


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    for line in (MONDAY, TUESDAY):
        assert start(line, folder / "store").returncode == 0
    return told(folder / "store", folder)


@pytest.mark.parametrize(
    ("point", "action"),
    [
        *((f"ingest.read:{n}", "kill") for n in (1, 3)),
        *((f"ingest.transaction:{n}", "kill") for n in (1, 2, 6, 8)),
        *((f"ingest.committed:{n}", "kill") for n in (1, 2, 5, 7, 8)),
        *((f"ingest.{name}:2", "enospc") for name in ("read", "transaction", "committed")),
        *((f"ingest.transaction:{n}", "eio") for n in (6, 8)),
    ],
)
def test_a_run_that_failed_and_was_repeated_equals_one(undisturbed, tmp_path, point, action):
    assert start(MONDAY, tmp_path / "store").returncode == 0
    failed = start(TUESDAY, tmp_path / "store", f"{point}:{action}")
    if action == "kill":
        assert failed.returncode == -signal.SIGKILL
    else:
        assert f"(fault point {point.split(':')[0]})" in failed.stderr
    with Store.open(tmp_path / "store") as store:  # between the two runs it is whole, if not yet complete
        assert store.verify() == []
    again = start(TUESDAY, tmp_path / "store")
    assert again.returncode == 0, again.stderr
    assert told(tmp_path / "store", tmp_path) == undisturbed


def test_a_day_that_was_never_completed_may_be_followed_by_another(undisturbed, tmp_path):
    assert start(TUESDAY, tmp_path / "store", "ingest.committed:3:kill").returncode == -signal.SIGKILL
    for line in (MONDAY, TUESDAY):
        assert start(line, tmp_path / "store").returncode == 0
    assert told(tmp_path / "store", tmp_path)[1] == undisturbed[1]


@pytest.mark.parametrize("when", ["before the file is extended", "when pages are written"])
def test_a_file_that_may_not_grow_is_a_clean_error(undisturbed, tmp_path, when):
    limited = """
import resource
from mmprod.datasets.store import lmdb_environment
if {early}:
    lmdb_environment.FIRST_MAP = 1 << 17
with Store.open({path!r}, shards=2) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, 1 << 17))
    ingest_day(store, MemoryTable(catalogue(60, size=9000)), MONDAY, full=True, pictures=MemoryPictures(),
               batch_rows=20)
""".format(early=when.startswith("before"), path=str(tmp_path / "store"))
    failed = start("pass  # {}\n" + limited, tmp_path / "store")
    assert failed.returncode == 1
    told_last = ("OSError: ", "mmprod.storage.room.NoRoom: a batch takes about 0.")
    assert failed.stderr.splitlines()[-1].startswith(told_last), failed.stderr
    with Store.open(tmp_path / "store") as store:
        assert store.verify() == []
    for line in (MONDAY, TUESDAY):
        assert start(line, tmp_path / "store").returncode == 0
    assert told(tmp_path / "store", tmp_path)[0] == undisturbed[0]


def test_an_acknowledged_batch_survives_kill_at_any_time(tmp_path):
    """A process writes batch after batch and says so after each: that is there, and nothing by halves."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    loop = """
import itertools
with Store.open({!r}) as store:
    start = sum(1 for _ in store.live_ids()) // 50
    for number in itertools.count(start):
        names = (f"{{number:05d}}-{{i:02d}}" for i in range(50))
        rows = [row | {{"product_id": name}} for row, name in zip(catalogue(50, str(number)), names)]
        ingest_day(store, MemoryTable(rows), MONDAY, full=False, pictures=MemoryPictures())
        print(number, flush=True)
"""
    acknowledged, trials = -1, 12
    for _ in range(trials):
        with subprocess.Popen(
            [sys.executable, "-c", RUN + loop.format(str(tmp_path / "store"))],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:  # fmt: skip
            acknowledged = int(writer.stdout.readline())
            time.sleep(chance.uniform(0, 0.08))
            writer.kill()
            acknowledged = max([acknowledged, *map(int, writer.stdout.read().split("\n")[:-1])])
        with Store.open(tmp_path / "store", read_only=True) as store:
            assert store.verify() == [], f"seed {seed}"
            live = list(store.live_ids())
            assert len(live) % 50 == 0, f"seed {seed}: half a batch"
            assert f"{acknowledged:05d}-49" in live, f"seed {seed}: batch {acknowledged} is lost"
    assert acknowledged >= trials - 1
