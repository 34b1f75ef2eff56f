"""A process that is short of files or memory, or meets a full disk: a line and an exit code, no traceback."""

import errno
import json
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmprod.cli.app import app
from mmprod.stages import status
from mmprod.storage.room import is_full, told

LANCE = "LanceError(IO): Generic LocalFileSystem error: Unable to copy data to file: {} (os error {})"
CASES = [
    (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Too many open files: let it open more files"),
    (OSError(errno.ENFILE, os.strerror(errno.ENFILE), "a.lance"), "Too many open files in system"),
    (MemoryError(), "Cannot allocate memory: give it more memory"),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "report.html"), "No space left on device: report.html"),
    (OSError(LANCE.format(os.strerror(errno.ENOSPC), 28)), "No space left on device: the lake"),
    (OSError(LANCE.format(os.strerror(errno.EDQUOT), 122)), "Disk quota exceeded: the lake"),
    (OSError(LANCE.format(os.strerror(errno.EROFS), 30)), "Read-only file system: the lake"),
    (OSError(LANCE.format(os.strerror(errno.EMFILE), 24)), "Too many open files: let it open more files"),
]


@pytest.mark.parametrize(("error", "message"), CASES, ids=[message[:24] for _, message in CASES])
def test_a_shortage_is_one_line_for_people_and_one_object_for_machines(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def short(*_: object) -> None:
        raise error

    monkeypatch.setattr(status, "lake_status", short)
    words = ["status", "--lake", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {message}") and done.stderr.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["mmprod", *words, "--json"])
    machines = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert machines["error"].startswith(message)
    assert (machines["exit_code"], machines["retry"]) == (1, True)


def test_where_a_disk_is_full_what_is_free_on_it_is_told(tmp_path: Path) -> None:
    for error in (
        OSError(errno.ENOSPC, "full", str(tmp_path / "a")),
        OSError(LANCE.format("Disk quota exceeded", 122)),
    ):
        assert is_full(error)
        with pytest.raises(OSError, match=rf"at {tmp_path}.*B are free there"), told(tmp_path):
            raise error
    with pytest.raises(FileNotFoundError), told(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "none", "x")
