"""A day's table through the stage: what it changed is published once and whole, whatever dies in between."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmprod.config import load
from mmprod.datasets.schemas import CHANGE, PRODUCT, check, rows_to_batch
from mmprod.datasets.store import changelog
from mmprod.lake import Lake
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.store import compact_store, open_store
from mmprod.storage import artifacts, parquet
from mmprod.storage.errors import InputError, StateError

MONDAY, TUESDAY = date(2024, 5, 6), date(2024, 5, 7)
SHARDS = 2
DELIVERED = pa.schema([PRODUCT.field("product_id").with_nullable(True), *list(PRODUCT)[1:]])


def photo(name):
    return b"\xff\xd8\xff\xe0" + hashlib.sha256(name.encode()).digest()


def product(number, **fields):
    return {"product_id": f"p{number:03d}", "title": f"Lamp {number}", "image": photo(str(number))} | fields


FIRST = [product(number) for number in range(60)]
SECOND = [
    *(product(number, title=f"Tall lamp {number}") for number in range(8)),
    *(product(number, image=photo(f"new {number}")) for number in range(8, 14)),
    {"title": "nobody"},
    product(14, image=b"<html>"),
    product(15, deleted=True),
    *(product(number) for number in range(16, 50)),
    product(16, title="twice"),
    *(product(number) for number in range(60, 65)),
]
TOLD = {
    "title": 9, "picture": 7, "quarantined": 1, "picture_rejected": 1, "stale": 1, "removed": 11, "added": 5,
}  # fmt: skip


class World:
    """A lake, its configuration and a place for tables."""

    def __init__(self, folder, extra=""):
        self.folder = folder
        self.settings = folder / "mmprod.toml"
        self.settings.write_text(f'lake = "lake"\n[store]\nshards = {SHARDS}\nbatch_rows = 20\n{extra}')

    @property
    def config(self):
        return load(self.settings).config

    @property
    def lake(self):
        return Lake(self.config.lake)

    def table(self, name, rows):
        path = self.folder / name
        table = pa.Table.from_batches([rows_to_batch(rows, DELIVERED)], DELIVERED)
        pq.write_table(table, path)
        return path

    def ingest(self, day, rows, **options):
        path = self.table(f"{day}.parquet", rows)
        with open_store(self.lake, self.config, read_only=False) as store:
            return ingest_table(self.lake, self.config, store, path, day, **options)

    def start(self, code, fault=""):
        """Run `code`, which knows `lake`, `config` and `ingest`, in another process."""
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE.format(settings=str(self.settings)) + code],
            env=os.environ | {"MMPROD_FAULT": fault}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    def published(self):
        """Rows of every list of changes, list by list."""
        names = artifacts.generations(self.lake.changes)
        return [parquet.read(self.lake.changes / name / "changes.parquet").to_pylist() for name in names]

    def files(self):
        """Content of every file of the lake but the locks."""
        paths = (path for path in self.lake.root.rglob("*") if path.is_file())
        locks = {"LOCK", "lock.mdb", ".lock"}
        return {path: path.read_bytes() for path in paths if path.name not in locks}


PRELUDE = """
from datetime import date
from pathlib import Path
from mmprod.config import load
from mmprod.lake import Lake
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.store import compact_store, open_store

settings = Path({settings!r})
config = load(settings).config
lake = Lake(config.lake)

def ingest(day):
    with lake.writing(), open_store(lake, config, read_only=False) as store:
        ingest_table(lake, config, store, settings.with_name(f"{{day}}.parquet"), date.fromisoformat(day))

"""


@pytest.fixture
def world(tmp_path):
    """A world after Monday, with Tuesday's table at hand."""
    world = World(tmp_path)
    world.ingest(MONDAY, FIRST)
    world.table(f"{TUESDAY}.parquet", SECOND)
    return world


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Tuesday's changes and the state of the store, when nothing happens."""
    world = World(tmp_path_factory.mktemp("undisturbed"))
    world.ingest(MONDAY, FIRST)
    world.ingest(TUESDAY, SECOND)
    return told(world)


def told(world):
    with open_store(world.lake, world.config) as store:
        assert store.verify() == []
        assert not store.logs_of(TUESDAY)
        return sorted(map(str, world.published()[-1])), store.state_hash()


def test_what_a_day_changed_is_published_with_where_it_came_from(world):
    outcome = world.ingest(TUESDAY, SECOND)
    monday, tuesday = world.published()
    assert Counter(row["kind"] for row in monday) == {"added": 60}
    kinds = Counter(row["kind"] for row in tuesday)
    with artifacts.opened(world.lake.changes) as current:
        manifest = current.manifest
        check(parquet.read(current.path / "changes.parquet"), CHANGE, "changes")
    assert manifest.counts == {"rows": len(tuesday), **kinds}
    assert (manifest.kind, manifest.inputs["day"], manifest.inputs["snapshot"]) == (
        "change",
        "2024-05-07",
        "full",
    )
    assert (outcome.rows, outcome.refused) == (len(SECOND), 1)
    accounted = outcome.changed + outcome.reused + outcome.refused + outcome.detail["stale"]
    assert accounted == len(SECOND) + kinds["removed"] - 1  # all but one are gone without a row
    nobody = next(row for row in tuesday if row["product_id"] is None)
    assert (nobody["kind"], nobody["source"]) == ("quarantined", "2024-05-07.parquet:15")


def test_the_same_table_again_leaves_every_file_as_it_was(world):
    world.ingest(TUESDAY, SECOND)
    before = world.files()
    assert world.ingest(TUESDAY, SECOND).changed == 0
    world.ingest(MONDAY, FIRST)
    assert world.files() == before


@pytest.mark.parametrize(
    "fault",
    [
        *(f"ingest.read:{n}" for n in (1, 2, 3)),
        *(f"ingest.transaction:{n}" for n in (1, 2, 5, 8, 9, 10)),
        *(f"ingest.committed:{n}" for n in (1, 4, 7, 8, 9, 10)),
        *(f"artifact.{name}:1" for name in ("written", "published", "switched")),
    ],
)
def test_killed_and_run_again_publishes_the_same_changes_once(world, undisturbed, fault):
    assert world.start(f"ingest('{TUESDAY}')", f"{fault}:kill")[0] == -signal.SIGKILL
    assert world.start(f"ingest('{TUESDAY}')") == (0, "")
    assert told(world) == undisturbed
    assert artifacts.generations(world.lake.changes) == ["g000001", "g000002"]
    assert artifacts.current(world.lake.changes) == "g000002"
    before = world.files()
    world.ingest(TUESDAY, SECOND)
    assert world.files() == before


@pytest.mark.parametrize("point", ["ingest.transaction", "ingest.committed", "artifact.written"])
def test_a_full_disk_is_an_error_and_the_retry_works(world, undisturbed, point):
    code, error = world.start(f"ingest('{TUESDAY}')", f"{point}:1:enospc")
    assert (code, f"(fault point {point})" in error) == (1, True)
    assert artifacts.current(world.lake.changes) == "g000001"
    world.ingest(TUESDAY, SECOND)
    assert told(world) == undisturbed


def test_changes_forgotten_by_halves_are_not_published_again(world, undisturbed):
    assert world.start(f"ingest('{TUESDAY}')", "artifact.switched:1:kill")[0] == -signal.SIGKILL
    with open_store(world.lake, world.config, read_only=False) as store:
        changelog.forget(store.shards[0], TUESDAY)
        name, *rows = [key for chunk, _ in store.shards[1].chunks("changes") for key, _ in chunk]
        store.shards[1].remove("changes", rows[:3])
        assert len(name) < len(rows[0])
    world.ingest(TUESDAY, SECOND)
    assert len(artifacts.generations(world.lake.changes)) == 2
    assert told(world) == undisturbed


def test_days_between_a_crash_and_its_rerun_do_no_harm(world, undisturbed):
    assert world.start(f"ingest('{TUESDAY}')", "artifact.switched:1:kill")[0] == -signal.SIGKILL
    world.ingest(date(2024, 5, 8), [*SECOND, product(70)])
    world.ingest(TUESDAY, SECOND)
    names = artifacts.generations(world.lake.changes)
    assert (names, artifacts.current(world.lake.changes)) == (["g000001", "g000002", "g000003"], names[-1])
    assert sorted(map(str, world.published()[1])) == undisturbed[0]


def test_a_table_that_goes_back_and_forth_is_told_of_each_time(world):
    """Equal tables of one day with equal rows, yet each is news."""
    for _ in range(2):
        world.ingest(TUESDAY, [*FIRST[1:], product(0, title="one")])
        world.ingest(TUESDAY, [*FIRST[1:], product(0, title="two")])
    kinds = [[(row["product_id"], row["kind"]) for row in rows] for rows in world.published()[1:]]
    assert kinds == [[("p000", "title")]] * 4


def test_a_partial_table_removes_nothing_and_a_day_without_news_publishes_nothing(tmp_path):
    world = World(tmp_path, '[table]\nsnapshot = "partial"\n')
    world.ingest(MONDAY, FIRST)
    world.ingest(TUESDAY, FIRST[:3])
    assert len(world.published()) == 1
    with open_store(world.lake, world.config) as store:
        assert store.stats().live == 60


def test_too_many_removals_need_approval(world):
    before = world.files()
    with pytest.raises(InputError, match="leaves out 57 of 60"):
        world.ingest(TUESDAY, FIRST[:3])
    assert world.files() == before
    world.ingest(TUESDAY, FIRST[:3], approve_removals=True)
    assert Counter(row["kind"] for row in world.published()[-1]) == {"removed": 57}


@pytest.mark.parametrize("rows", [[], [{"title": "nobody"}]])
def test_a_table_without_a_usable_row_is_refused_before_anything_changes(world, rows):
    before = world.files()
    with pytest.raises(InputError):
        world.ingest(TUESDAY, rows)
    left = {path: data for path, data in world.files().items() if path.parent.name != "quarantine"}
    assert left == before


def test_two_writers_at_once_are_refused(world):
    with world.lake.writing(), open_store(world.lake, world.config, read_only=False):
        code, error = world.start(f"ingest('{TUESDAY}')")
        assert (code, f"process {os.getpid()}" in error) == (1, True)
        with pytest.raises(StateError, match=r"another run is writing \(pid"):
            open_store(world.lake, world.config, read_only=False)


@pytest.fixture
def loose(world):
    """A world whose store has pages and pictures to give back."""
    for number in range(3):
        world.ingest(TUESDAY, [*FIRST[30:], *(product(n, image=photo(str(number)) * 999) for n in range(30))])
    return world


READER = """
with open_store(lake, config) as store:
    print(store.stats().live, flush=True)
    input()
    print(store.get("p001").title)
"""


def standing(world):
    with open_store(world.lake, world.config) as store:
        assert store.verify() == []
        return store.state_hash(), store.head(), len(list(store.changes_since()))


def test_a_compacted_store_is_smaller_and_otherwise_the_same(loose):
    before = standing(loose)
    with subprocess.Popen(
        [sys.executable, "-c", PRELUDE.format(settings=str(loose.settings)) + READER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as reader:  # fmt: skip
        assert reader.stdout.readline() == "60\n"
        was, now = compact_store(loose.lake, loose.config)
        assert reader.communicate("\n")[0] == "Lamp 1\n"  # whoever has it open goes on reading
    assert 0 < now < was
    assert standing(loose) == before
    assert sorted(path.name for path in loose.lake.root.iterdir()) == ["changes", "store"]
    assert loose.ingest(TUESDAY, SECOND).changed == 29 + 11 + 5


def test_killed_between_the_renames_nothing_is_lost(loose):
    before = standing(loose)
    assert loose.start("compact_store(lake, config)", "store.exchange:1:kill")[0] == -signal.SIGKILL
    assert not loose.lake.store.exists()
    assert standing(loose) == before  # a reader is enough to put it right
    compact_store(loose.lake, loose.config)
    assert standing(loose) == before
    assert sorted(path.name for path in loose.lake.root.iterdir()) == ["changes", "store"]


def test_a_copy_left_by_a_compaction_that_died_is_no_store(loose):
    before = standing(loose)
    shutil.copytree(loose.lake.store, loose.lake.root / "store.new")
    loose.ingest(date(2024, 5, 8), SECOND)
    assert standing(loose) != before
    compact_store(loose.lake, loose.config)
    assert loose.ingest(date(2024, 5, 8), SECOND).changed == 0


def test_a_compaction_without_room_leaves_the_store_as_it_was(loose):
    before = standing(loose)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, 1 << 14))\n"
    code, error = loose.start(limit + "compact_store(lake, config)")
    assert (code, ".NoRoom: a copy of the store could not" in error.splitlines()[-1]) == (1, True), error
    assert standing(loose) == before


def test_there_must_be_a_store_to_compact(tmp_path):
    world = World(tmp_path)
    with pytest.raises(StateError, match="no product store here"):
        compact_store(world.lake, world.config)
    assert not Path(world.lake.store).exists()
