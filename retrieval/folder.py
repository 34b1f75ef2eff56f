"""The folder of an index generation: its files, writing and reading them, and consistency checks."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from mmprod.datasets.schemas import ITEM, check
from mmprod.retrieval import index as faiss_index
from mmprod.retrieval.ids import Lookup
from mmprod.storage import parquet
from mmprod.storage.errors import InputError, StateError

if TYPE_CHECKING:
    import faiss

INDEX, ITEMS, BUILD = "index.faiss", "items.parquet", "build.json"
TRAINING = "training.faiss"
"""A trained index before any vector was added; the next generation may begin with it."""


@dataclass(frozen=True)
class Build:
    """The content of build.json: how a generation was made."""

    profile: str
    weights: tuple[float, float]  # image, text; sum 1
    encoder: str  # fingerprint of the encoder of all vectors and queries
    dim: int  # dimension of the fused vectors: width or 2 * width
    width: int  # d of the encoder
    factory: str  # Faiss factory string as built, see resolve_factory
    nprobe: int  # lists searched by default; 1 for an index without lists
    count: int


def save(folder: Path, index: "faiss.Index", items: pa.Table, build: Build) -> None:
    """Write the three files of a generation into an existing folder; the caller syncs and renames it.

    items: schema ITEM, row i is vector i. Raises StateError when index, items and `build` are inconsistent,
    or an id is repeated.
    """
    check(items, ITEM, ITEMS)
    _fits(folder, index, items, build)
    Lookup(items["product_id"].combine_chunks())
    faiss_index.write(index, folder / INDEX)
    pq.write_table(items, folder / ITEMS, compression="zstd", write_page_checksum=True)
    (folder / BUILD).write_text(json.dumps(asdict(build), indent=2) + "\n", encoding="utf-8")


def take_over(before: Path, folder: Path, items: pa.Table) -> None:
    """Write a generation with the index of the one before, whose file it shares, and other `items`."""
    for name in (INDEX, TRAINING):
        if (before / name).exists():
            os.link(before / name, folder / name)
    shutil.copyfile(before / BUILD, folder / BUILD)
    check(items, ITEM, ITEMS)
    if _read_build(folder / BUILD, None).count != items.num_rows:
        raise StateError(f"{before} has another number of rows than {items.num_rows}")
    pq.write_table(items, folder / ITEMS, compression="zstd", write_page_checksum=True)


def read_items(folder: Path) -> pa.Table:
    """The items of a generation, schema ITEM. Raises StateError when the file is damaged."""
    return _read_items(folder / ITEMS, None)


def load(folder: Path, sha256: Mapping[str, str]) -> tuple["faiss.Index", pa.Table, Build]:
    """Read the three files and check that they are consistent.

    sha256: the expected hash by file name; a file without an entry is checked for readability only.
    Raises StateError, with both values, for a damaged file, or for different counts or dimensions.
    """
    build = _read_build(folder / BUILD, sha256.get(BUILD))
    items = _read_items(folder / ITEMS, sha256.get(ITEMS))
    index = faiss_index.read(folder / INDEX, sha256.get(INDEX))
    _fits(folder, index, items, build)
    return index, items, build


def _fits(folder: Path, index: "faiss.Index", items: pa.Table, build: Build) -> None:
    if not index.ntotal == items.num_rows == build.count:
        counts = f"{index.ntotal} vectors, {items.num_rows} ids, {build.count} in {BUILD}"
        raise StateError(f"{folder}: {counts}: parts of different generations; roll back or build again")
    if index.d != build.dim:
        raise StateError(f"{folder}: index of dimension {index.d}, {BUILD} says {build.dim}; build it again")


def _read_items(path: Path, sha256: str | None) -> pa.Table:
    faiss_index.check_file(path, sha256)
    try:
        items = parquet.read(path)
        check(items, ITEM, ITEMS)
    except (StateError, InputError) as error:
        raise StateError(f"{path}: damaged; roll back or build the generation again ({error})") from error
    return items


def _read_build(path: Path, sha256: str | None) -> Build:
    faiss_index.check_file(path, sha256)
    try:
        found = json.loads(path.read_bytes())
        build = Build(**(found | {"weights": tuple(found["weights"])}))
        _plausible(build)
    except (ValueError, TypeError, KeyError) as error:
        raise StateError(f"{path}: damaged; roll back or build the generation again ({error})") from error
    return build


def _plausible(build: Build) -> None:
    w_img, w_txt = build.weights
    if min(w_img, w_txt) < 0 or not abs(w_img + w_txt - 1) < 1e-6:
        raise ValueError(f"weights {build.weights}, want two of sum 1")
    if build.dim not in (build.width, 2 * build.width):
        raise ValueError(f"dimension {build.dim}, want {build.width} or {2 * build.width}")
