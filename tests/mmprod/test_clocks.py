"""A clock that is an hour back, or stands still, changes no order."""

import datetime
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from mmprod.datasets.schemas import JUDGEMENT
from mmprod.datasets.store.store import Store
from mmprod.report.review.history import Entry, index_page
from mmprod.sections import Ray
from mmprod.stages import cluster
from mmprod.stages import store as product_store
from mmprod.stages.review import judgements
from mmprod.storage import artifacts, fencing, parquet
from mmprod.storage.errors import StateError


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime.datetime], None]:
    """Sets the clock of what is tested here."""

    def set_to(now: datetime.datetime) -> None:
        class Shifted(datetime.datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime.datetime:
                return now.astimezone(tz)

        for module in (product_store, artifacts, judgements):
            monkeypatch.setattr(module, "datetime", Shifted)
        monkeypatch.setattr(time, "time", now.timestamp)
        monkeypatch.setattr(time, "time_ns", lambda: int(now.timestamp() * 1e9))

    return set_to


def moments(count: int) -> list[datetime.datetime]:
    """Each an hour before the last."""
    noon = datetime.datetime(2026, 10, 25, 12, tzinfo=datetime.UTC)
    return [noon - datetime.timedelta(hours=n) for n in range(count)]


def test_the_backup_just_made_is_kept_whatever_the_clock_says(world, set_clock, tmp_path: Path) -> None:
    with product_store.open_store(world.lake, world.config, read_only=False):
        pass
    folder = tmp_path / "backups"
    old = folder / "store-20991231T235959000000"  # of an earlier version, under a clock that was ahead
    old.mkdir(parents=True)
    kept = [old]
    for now in [*moments(3), moments(3)[-1]]:
        set_clock(now)
        copy, removed = product_store.backup_store(world.lake, world.config, folder, keep=2)
        kept = [*kept, copy]
        kept, gone = kept[-2:], kept[:-2]
        assert (removed, sorted(folder.iterdir())) == (gone, sorted(kept))
        Store.open(copy, read_only=True).close()
    assert [path.name.split("-")[1] for path in kept] == ["000003", "000004"]


def test_more_backups_are_kept_than_there_are(world, tmp_path: Path) -> None:
    with product_store.open_store(world.lake, world.config, read_only=False):
        pass
    made = [product_store.backup_store(world.lake, world.config, tmp_path / "b", keep=7) for _ in range(5)]
    assert [removed for _, removed in made] == [[]] * 5
    assert sorted((tmp_path / "b").iterdir()) == [copy for copy, _ in made]


class Cluster:
    """A Ray head that forgets its jobs, as one does that was started anew, and runs each at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def list_jobs(self) -> list[Any]:
        return []

    def submit_job(self, entrypoint: str, **_: Any) -> None:
        self.lines.append(entrypoint)

    def get_job_info(self, job: str) -> Any:
        status = SimpleNamespace(value="SUCCEEDED", is_terminal=lambda: True)
        return SimpleNamespace(status=status, driver_exit_code=0, message="")

    def get_job_logs(self, job: str) -> str:
        return "{}\n"


def test_a_later_attempt_on_a_cluster_is_the_later_one_under_any_clock(
    set_clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    head = Cluster()
    monkeypatch.setattr(cluster, "_client", lambda address: head)
    numbers = []
    for now in moments(3):
        set_clock(now)
        cluster.run(Ray(), tmp_path, "mmprod-embed-0-abc", ["embed"], lambda line: None)
        found = re.search(r"MMPROD_RUN=(\S+)", head.lines[-1])
        assert found
        monkeypatch.setenv(fencing.VARIABLE, found[1])
        with fencing.enter(tmp_path):  # refused, were it not the latest
            numbers.append(int(found[1].rpartition(":")[2]))
    assert numbers == [1, 2, 3]
    monkeypatch.setenv(fencing.VARIABLE, "ray/mmprod-embed-0-abc:2")
    with pytest.raises(StateError, match="attempt 3"), fencing.enter(tmp_path):
        pass


def test_attempts_go_on_from_those_that_a_clock_had_numbered(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(fencing.VARIABLE, "ray/job:1795290226595")
    with fencing.enter(tmp_path):
        pass
    assert fencing.latest(tmp_path, "ray/job") == 1795290226595
    assert fencing.latest(tmp_path, "ray/other") == 0


def test_a_correction_counts_although_the_clock_was_set_back(set_clock, tmp_path: Path) -> None:
    root = tmp_path / "judgements"
    now, before = moments(2)
    set_clock(now)
    assert judgements._handed_in(root) == now
    row = {field.name: now if field.name == "judged_at" else _any(field.type) for field in JUDGEMENT}
    for rows in ([row], []):
        with artifacts.publishing(root, "judgements", {"rows": len(rows)}, {}) as draft:
            table = pa.Table.from_pylist(rows, JUDGEMENT)
            parquet.write(draft.path / judgements.JUDGEMENTS_FILE, table.to_batches(), JUDGEMENT)
    set_clock(before)
    assert judgements._handed_in(root) == now
    set_clock(now + datetime.timedelta(hours=1))
    assert judgements._handed_in(root) == now + datetime.timedelta(hours=1)


def _any(kind: pa.DataType) -> Any:
    return False if pa.types.is_boolean(kind) else 0 if pa.types.is_integer(kind) else "x"


def test_the_newest_evaluation_is_the_last_made() -> None:
    made = [
        Entry("same_item", f"g{n:06}", now.isoformat(), f"{n}.html", {}, ())
        for n, now in enumerate(moments(3), 1)
    ]
    page = index_page([made[1], made[0], made[2]])
    (part,) = (part for part in page.parts if part.title == "same_item")
    assert [row[0].file for row in part.tables[0].rows] == ["3.html", "2.html", "1.html"]
