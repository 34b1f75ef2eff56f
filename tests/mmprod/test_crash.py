"""Kill -9 at every fault point of a run, then run again: the same final tables as without the kill."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmprod.storage.faults import POINTS

Day = Callable[..., Any]
Content = Callable[[Path], dict[str, str]]
TIMES = {"artifact.written": 6, "artifact.published": 6, "artifact.switched": 6, "index.built": 3}
OTHERS = {"store.exchange", "checkpoint.written"}  # no part of a run; tested where they belong
CASES = [
    (point, time)
    for point in POINTS
    if point not in OTHERS
    for time in sorted({1, 2, TIMES.get(point, 1)})
    if (point, time) not in {("run.finished", 2)}
]


@pytest.fixture(scope="module")
def undisturbed(
    grown, forked_day: Day, content: Content, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """A world after its first day, and what its tables are after an undisturbed second one."""
    calm = tmp_path_factory.mktemp("calm") / "world"
    shutil.copytree(grown.folder, calm)
    assert forked_day(calm, 2).status == 0
    return grown.folder, content(calm)


@pytest.mark.slow
@pytest.mark.parametrize(("point", "time"), CASES, ids=[f"{point}:{time}" for point, time in CASES])
def test_killed_and_run_again_equals_undisturbed(
    undisturbed: tuple[Path, dict[str, str]],
    forked_day: Day,
    content: Content,
    tmp_path: Path,
    point: str,
    time: int,
) -> None:
    folder = tmp_path / "world"
    shutil.copytree(undisturbed[0], folder)
    assert forked_day(folder, 2, MMPROD_FAULT=f"{point}:{time}:kill").status == -9, "the fault never fired"
    assert forked_day(folder, 2).status == 0
    assert content(folder) == undisturbed[1]
    assert not list(folder.glob("lake/**/.draft-*"))


@pytest.mark.slow
@pytest.mark.parametrize("point", sorted({point for point, _ in CASES}))
def test_stopped_and_taken_over_equals_undisturbed(
    undisturbed: tuple[Path, dict[str, str]],
    forked,
    forked_day: Day,
    content: Content,
    tmp_path: Path,
    point: str,
) -> None:
    """The first attempt stops, holding every lock; the second ends it and does the work."""
    folder = tmp_path / "world"
    shutil.copytree(undisturbed[0], folder)
    first = forked_day(folder, 2, MMPROD_FAULT=f"{point}:1:stop", MMPROD_RUN="nightly/2:1").stopped
    assert first, "the fault never fired"
    assert forked_day(folder, 2, MMPROD_RUN="nightly/2:2").status == 0
    assert forked.reap(first) == -9
    assert content(folder) == undisturbed[1]
    assert not list(folder.glob("lake/**/.draft-*"))
