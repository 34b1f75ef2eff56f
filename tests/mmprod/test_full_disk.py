"""Disks that are really full, an ext4 and a tmpfs: a line says so, and all goes on once there is room.

They do other things than a fault point does: LMDB tells of EIO where a page was cut short, Lance of text.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mmprod.lake import Lake
from mmprod.stages.status import verify_lake

pytestmark = pytest.mark.slow
SIZE = 80_000_000  # the encoder takes 33 of it


@pytest.fixture(params=["ext4", "tmpfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    if os.geteuid():
        pytest.skip("only root may mount a disk")
    at, image = tmp_path / "disk", tmp_path / "image"
    at.mkdir()
    if request.param == "ext4":
        if not shutil.which("mkfs.ext4"):
            pytest.skip("there is no mkfs.ext4 here")
        with image.open("wb") as file:
            file.truncate(SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        words = ["mount", "-o", "loop", image, at]
    else:
        words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", at]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no disk may be mounted here")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@contextlib.contextmanager
def filled(disk: Path, left: int) -> Iterator[None]:
    """Hardly any room on a disk while the block lasts."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        piece = 1 << 20
        while piece >= 512:
            try:
                if file.write(bytes(piece)) < piece:
                    piece //= 2
            except OSError as error:
                assert error.errno == errno.ENOSPC
                piece //= 2
        file.truncate(max(0, filler.stat().st_size - left))
    try:
        yield
    finally:
        filler.unlink()


def test_a_full_disk_is_told_in_a_line_and_nothing_is_lost(world, disk: Path, forked) -> None:
    lake = disk / "lake"
    shutil.copytree(world.lake.root, lake)
    table, day = world.days[0]
    stages = {
        "ingest": ("ingest", "--day", day.isoformat(), "--table", str(table)),
        "embed": ("embed",),
        "index": ("index", "build"),
        "recall": ("recall", "build"),
    }

    def run(*words: str) -> Any:
        return forked.mmprod(*words, "--lake", str(lake), "--json", folder=world.folder)

    for stage, words in stages.items():
        for left in (0, 20_000, 120_000):
            with filled(disk, left):
                done = run(*words)
            if left and not done.status:
                break  # that was enough
            _check(done, f"{stage}, {left} bytes left")
        done = run(*words)
        assert done.status == 0, (stage, done.out, done.err)
    assert verify_lake(Lake(lake), world.config) == []
    with filled(disk, 0):
        assert run("search", "red mug").status == 0
        assert run("status").status == 0
        _check(run("store", "backup", str(disk / "backups")), "backup")
        _check(run("store", "export", str(disk / "export.parquet")), "export")
        _check(run("store", "compact"), "compact")
    assert verify_lake(Lake(lake), world.config) == []


def _check(done: Any, what: str) -> None:
    """One line that says what is free, one object for machines."""
    assert done.status == 1, (what, done.status, done.out, done.err)
    told = json.loads(done.out)
    assert (told["exit_code"], told["retry"]) == (1, True), (what, told)
    assert re.search(r"[\d.]+ MB are free", told["error"]) and "\n" not in told["error"], (what, told)
    assert "Traceback" not in done.err, (what, done.err)


def test_what_a_batch_takes_and_what_is_free_are_told(world, disk: Path, forked) -> None:
    """For people, the same line; the batch is what does not fit."""
    lake = disk / "lake"
    shutil.copytree(world.lake.root, lake)
    table, day = world.days[0]
    words = ("ingest", "--day", day.isoformat(), "--table", str(table), "--lake", str(lake))
    make: Callable[..., Any] = forked.mmprod
    with filled(disk, 150_000):
        done = make(*words, folder=world.folder)
    assert done.status == 1 and not done.out
    (line,) = done.err.strip().splitlines()
    told = r"error: a batch takes about 0\.\d+ MB .* MB are free there"
    assert re.search(told, line), line
