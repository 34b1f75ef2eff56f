"""Collects inboxes in children that are killed in the middle. A program of test_inbox.

It imports everything once and forks a child for each line of JSON it reads, {"folder", "out", "touch",
"seconds"}: the child kills itself just before its `touch`-th use of a file, or is killed after `seconds`.
"""

import hashlib
import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from mmprod.eval.labels import read_labels, write_rejected
from mmprod.stages.review import inbox
from mmprod.storage import parquet
from mmprod.storage.errors import InputError
from mmprod.storage.files import replace_file

TOUCHES = {"open", "os.rename", "os.mkdir", "os.listdir", "os.scandir", "os.remove"}
NOW = datetime(2025, 1, 1, tzinfo=UTC)


def collect(folder: Path, out: Path, questions: pa.Table) -> None:
    """What a file says is put into `out` under its hash, and only then is it finished."""
    for file in inbox.take(folder, 0):
        name = hashlib.sha256(file.path.read_bytes()).hexdigest()
        try:
            labels = read_labels(file.path, questions, NOW)
        except InputError as error:
            inbox.refuse(file, str(error).replace(str(file.path), "the file"))
            continue
        replace_file(out / f"{name}.txt", repr(labels.judgements.drop(["sheet"]).to_pylist()))
        write_rejected(out / f"{name}.csv", labels)
        inbox.finish(file, out / f"{name}.csv" if labels.rejected else None)


def die_at(touch: int, folder: str) -> None:
    touches = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal touches
        if event in TOUCHES and any(str(argument).startswith(folder) for argument in arguments):
            touches += 1
            if touches == touch:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def main() -> None:
    questions = parquet.read(Path(sys.argv[1]))
    for line in sys.stdin:
        order = json.loads(line)
        if (child := os.fork()) == 0:
            die_at(order["touch"], str(Path(order["folder"]).parent))
            collect(Path(order["folder"]), Path(order["out"]), questions)
            os._exit(0)
        if order["seconds"]:
            time.sleep(order["seconds"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else "whole" if status == 0 else f"failed with {status}", flush=True)


if __name__ == "__main__":
    main()
