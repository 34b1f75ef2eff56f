"""What does not fit on the disk is refused before work, by figures that are near what is really written."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmprod.datasets.schemas import ITEM, RECALL
from mmprod.retrieval import index
from mmprod.stages import needs
from mmprod.stages.daily.embed import read_embeddings
from mmprod.storage import artifacts, parquet
from mmprod.storage.files import sha256_file

SMALL = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
numbers = {"setgroups": "deny", "uid_map": f"0 {os.getuid()} 1", "gid_map": f"0 {os.getgid()} 1"}
os.makedirs(TARGET, exist_ok=True)
if libc.unshare(0x10000000 | 0x20000):  # user, mounts: both of this process alone
    sys.exit(77)
for name, text in numbers.items():
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)
if libc.mount(b"tmpfs", TARGET.encode(), b"tmpfs", 0, b"size=16k"):
    sys.exit(77)
from mmprod.cli.app import main
sys.argv = ["mmprod", *WORDS, "--json"]
main()
"""


_LOCKS = (".lock", "lock.mdb", "LOCK")


def standing(folder: Path) -> dict[str, str]:
    """Every file of a folder and its sha256, without those that only serve to lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in _LOCKS)
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


def written(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def near(estimate: int, real: int) -> bool:
    """No less than what was really written, and of the same size."""
    return real <= estimate <= 2 * real + 1_000_000


@pytest.fixture(scope="module")
def small_disk(forked) -> Callable[..., Any]:
    """Runs a command where one folder is a disk of 16 kB, for that process alone."""

    def run(at: Path, folder: str, *words: str) -> Any:
        done = forked.python(f"TARGET, WORDS = {folder!r}, {words!r}\n{SMALL}", at)
        if done.status == 77:
            pytest.skip("a process may not have mounts of its own here")
        return done

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "what", "words"),
    [
        ("lake/indexes", r"an index of \d+ products", ["index", "build"]),
        ("lake/recall", r"a recall table of \d+ products", ["recall", "build"]),
        ("lake/engines", "the engine", ["export", "onnx"]),
        ("backups", "a copy of the store", ["store", "backup", "backups"]),
    ],
)
def test_what_does_not_fit_is_refused_before_work(small_disk, grown, tmp_path, folder, what, words) -> None:
    here = tmp_path / "world"
    shutil.copytree(grown.folder, here)
    before = standing(here)
    done = small_disk(here, folder, *words)
    told = json.loads(done.out)
    assert (done.status, told["exit_code"], told["retry"]) == (1, 1, True), done.err
    figures = r"takes about [\d.]+ MB, 0\.0\d+ MB are free at"
    assert re.search(f"not enough disk: {what} {figures}", told["error"]), told
    assert standing(here) == before


def test_an_index_takes_about_what_is_asked_for(grown) -> None:
    width = read_embeddings(grown.lake, grown.config).pointer.width
    for profile in grown.config.profiles:
        with artifacts.opened(grown.lake.index(profile)) as made:
            count = made.manifest.counts["products"]
            assert near(needs.index_bytes(grown.config, profile, width, count), written(made.path))


@pytest.mark.parametrize(
    "factory",
    [
        *("auto", "Flat", "SQ8", "SQfp16", "IVF8,Flat", "IVF8,SQ8", "IVF2000,Flat", "IVF8,PQ8x4fs"),
        *("PCA16,Flat", "IVF8,SQ8,RFlat", "HNSW16", "HNSW8,SQ8", "IVF8_HNSW8,Flat", "PCA16,HNSW8"),
    ],
)
def test_an_index_of_any_factory_takes_about_what_is_asked_for(factory: str, tmp_path: Path) -> None:
    count, dim = 900, 32
    vectors = np.random.default_rng(0).standard_normal((count, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index.write(index.build([vectors], dim, count, factory), tmp_path / "index.faiss")
    real = written(tmp_path)
    assert real <= index.bytes_of(factory, dim, count) <= 2 * real + 50_000


def test_an_index_of_millions_is_told_without_building_it() -> None:
    """docs/sizing.md: 4·D + 8 bytes a vector in IVF,Flat, D + 8 in IVF,SQ8, and 4·D a list."""
    count, dim, lists = 100_000_000, 1024, 40_000
    for factory, vector in (("IVF40000,Flat", 4 * dim + 8), ("IVF40000,SQ8", dim + 8)):
        assert index.bytes_of(factory, dim, count) == pytest.approx(
            count * vector + 4 * dim * lists, rel=0.01
        )


def test_a_recall_table_takes_about_what_is_asked_for(grown) -> None:
    for profile in grown.config.recall.profiles:
        with artifacts.opened(grown.lake.index(profile)) as made:
            item = needs.item_bytes(made)
        with artifacts.opened(grown.lake.recall(profile)) as made:
            estimate = needs.recall_bytes(made.manifest.counts["anchors"], grown.config.recall.k, item)
            assert near(estimate, written(made.path))


@pytest.mark.parametrize("k", [1, 10, 50])
@pytest.mark.parametrize("name", ["D{:06d}", "{:032x}"], ids=["short", "long"])
def test_a_recall_table_of_many_takes_about_what_is_asked_for(name: str, k: int, tmp_path: Path) -> None:
    """Ids are most of a table with few neighbours, scores of one with many."""
    count, rng = 5_000, np.random.default_rng(0)
    ids = pa.array([name.format(int(n)) for n in rng.integers(0, 1 << 62, count, np.int64)])
    both = pa.repeat(True, count)
    items = pa.record_batch([ids, pa.repeat("Home", count), both, both], schema=ITEM)
    parquet.write(tmp_path / "items.parquet", [items], ITEM)
    item = (tmp_path / "items.parquet").stat().st_size / count

    def rows(anchors: np.ndarray) -> pa.RecordBatch:
        n = len(anchors) * k
        near, ranks = rng.integers(0, count, n), np.tile(np.arange(1, k + 1, dtype=np.int32), len(anchors))
        scores = [pa.array(rng.random(n, np.float32)) for _ in range(3)]
        columns = [ids.take(np.repeat(anchors, k)), ids.take(near), pa.array(ranks), *scores]
        return pa.record_batch(columns, schema=RECALL)

    batches = (rows(np.arange(start, min(start + 1024, count))) for start in range(0, count, 1024))
    parquet.write(tmp_path / "recall.parquet", batches, RECALL)
    real = (tmp_path / "recall.parquet").stat().st_size
    assert real <= needs.recall_bytes(count, k, item) <= 2 * real + 100_000


def test_engines_of_other_runtimes_need_their_onnx_files_beside_them() -> None:
    weights = 600_000_000
    onnx = needs.engine_bytes("onnx", "fp32", weights)
    assert weights < onnx < 1.05 * weights
    assert needs.engine_bytes("onnx", "fp16", weights) == pytest.approx(weights / 2, rel=0.05)
    assert needs.engine_bytes("openvino", "bf16", weights) == pytest.approx(2 * weights, rel=0.05)
    assert needs.engine_bytes("tensorrt", "fp16", weights) == pytest.approx(weights, rel=0.05)
