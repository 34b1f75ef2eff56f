"""Runs the days of a world again and again, killed at a fault point each time. A program of test_crash.

It imports everything once and forks a child for each run, before anything has started a thread. Reads
lines of JSON, {"folder", "day", "fault", "run"}, and answers each with the child's exit status, or with its
process id as "stopped"; with "promote" instead of "day" a candidate takes the encoder's place, with "digest"
it answers with what the lake holds, with "reap" alone with the exit status of a child that had stopped.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from kills.content import content

from mmprod.config import load
from mmprod.lake import Lake
from mmprod.stages.ingest import open_store
from mmprod.stages.promotion import promote_encoder
from mmprod.stages.run import run_day


def run(folder: Path, day: int) -> None:
    from datetime import date

    config = load(folder / "mmprod.toml").config
    planted = json.loads((folder / "catalogue" / "planted.json").read_text())[day - 1]
    lake = Lake(config.lake)
    with lake.writing():
        run_day(lake, config, folder / "catalogue" / planted["file"], date.fromisoformat(planted["day"]))


def promote(folder: Path, candidate: str) -> None:
    config = load(folder / "mmprod.toml").config
    lake = Lake(config.lake)
    with lake.writing(), open_store(lake, config) as store:
        promote_encoder(lake, config, store, candidate)


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        if "reap" in order:
            print(json.dumps({"status": _ended(order["reap"])}), flush=True)
            continue
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            if order.get("fault"):
                os.environ["MMPROD_FAULT"] = order["fault"]
            if order.get("run"):
                os.environ["MMPROD_RUN"] = order["run"]
            if "day" in order:
                run(Path(order["folder"]), order["day"])
            elif "promote" in order:
                promote(Path(order["folder"]), order["promote"])
            else:
                os.write(writer, json.dumps(content(Path(order["folder"]) / "mmprod.toml")).encode())
            os._exit(0)
        os.close(writer)
        if "stop" in order.get("fault", ""):
            _, status = os.waitpid(child, os.WUNTRACED)
            os.close(reader)
            print(json.dumps({"stopped": child if os.WIFSTOPPED(status) else None}), flush=True)
            continue
        with os.fdopen(reader) as pipe:
            answer = pipe.read()
        print(json.dumps({"status": _ended(child), "answer": answer}), flush=True)


def _ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
