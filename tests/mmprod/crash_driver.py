"""Runs the days of a world again and again, killed at a fault point each time. A program of test_crash.

It imports everything once and forks a child for each run, before anything has started a thread. Reads
lines of JSON, {"folder", "day", "fault", "run"}, and answers each with the child's exit status, or with its
process id as "stopped"; with "digest" instead of "day" it answers with a digest of all tables of the lake,
with "reap" alone with the exit status of a child that had stopped.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np

from mmprod.config import load
from mmprod.datasets import parquet
from mmprod.lake import Lake
from mmprod.stages.embed import open_embeddings
from mmprod.stages.encoder import load_encoder
from mmprod.stages.index import open_index, read_recall
from mmprod.stages.ingest import open_store
from mmprod.stages.run import run_day

WATCHED = ("product_id", "image_hash", "text_hash", "image", "text", "image_reason", "live")


def run(folder: Path, day: int) -> None:
    from datetime import date

    config = load(folder / "mmprod.toml").config
    planted = json.loads((folder / "catalogue" / "planted.json").read_text())[day - 1]
    lake = Lake(config.lake)
    with lake.writing():
        run_day(lake, config, folder / "catalogue" / planted["file"], date.fromisoformat(planted["day"]))


def digest(folder: Path) -> dict[str, str]:
    """Every final table of the lake by its content, whatever the order of rows and the generation's name."""
    config = load(folder / "mmprod.toml").config
    lake = Lake(config.lake)
    found = {}
    with open_store(lake, config) as store:
        found["store"] = store.state_hash()
    encoder = load_encoder(lake, config)
    table = open_embeddings(lake, config, encoder).dataset.to_table().sort_by("product_id")
    found["embeddings"] = _hash(table.select(list(WATCHED)).to_pylist())
    for profile in config.profiles:
        with open_index(lake, profile) as generation:
            order = np.argsort(generation.ids.to_pylist())
            ids = [generation.ids[int(i)].as_py() for i in order]
            found[f"index {profile}"] = _hash([ids, generation.vectors(order).tobytes().hex()])
    for profile in config.recall.profiles:
        rows = read_recall(lake, profile).sort_by([("anchor_id", "ascending"), ("rank", "ascending")])
        found[f"recall {profile}"] = _hash(rows.to_pylist())
    changes = [parquet.read(path).to_pylist() for path in lake.changes.glob("g*/changes.parquet")]
    found["changes"] = _hash(sorted(str(row) for rows in changes for row in rows))
    return found


def _hash(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()


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
            else:
                os.write(writer, json.dumps(digest(Path(order["folder"]))).encode())
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
