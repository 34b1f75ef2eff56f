"""Building, writing and reading a Faiss index. Inner product only; row i of the index is vector i."""

import logging
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmprod.datasets.lazy import lazy
from mmprod.retrieval.vectors import require_vectors, take_rows
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import sha256_file

if TYPE_CHECKING:
    import faiss
else:
    faiss = lazy("faiss")  # slow to import, and only who has an index to read or write needs it

FLAT_BELOW = 50_000  # vectors; exact search of so few takes milliseconds
_LISTS, _GRAPH = re.compile(r"IVF(\d+)"), re.compile(r"HNSW(\d+)")
_CODEBOOK = 256  # centroids of each part of a product quantizer
_REST = 16_384  # bytes of an index that are of no vector and no centroid
_log = logging.getLogger(__name__)


def resolve_factory(factory: str, dim: int, count: int) -> str:
    """The Faiss factory string that will be built, to be recorded beside the index.

    "auto" is Flat below FLAT_BELOW vectors, else IVF with 4√count lists. A string with more lists than
    vectors gets count // 39 lists (Faiss wants 39 training points a list), at least one.
    Raises InputError for a string Faiss can't build, or that renumbers rows (IDMap).
    """
    if factory == "auto":
        factory = "Flat" if count < FLAT_BELOW else f"IVF{round(4 * math.sqrt(count))},Flat"
    lists = _LISTS.search(factory)
    if lists and int(lists[1]) > count:
        fewer = _LISTS.sub(f"IVF{max(1, count // 39)}", factory)
        _log.warning("%s has more lists than the %d vectors: building %s", factory, count, fewer)
        factory = fewer
    _empty_index(factory, dim)
    return factory


def bytes_of(factory: str, dim: int, count: int) -> int:
    """Bytes of an index of `count` vectors, about: on disk, and in memory while it is built.

    Raises InputError as `resolve_factory`.
    """
    if factory == "auto":
        factory = resolve_factory(factory, dim, count)
    index = _empty_index(factory, dim)
    lists, graph = _LISTS.search(factory), _GRAPH.search(factory)
    try:
        vector = faiss.downcast_index(getattr(index, "storage", index)).sa_code_size()
    except RuntimeError:  # a graph behind a transformation
        vector = 4 * dim
    if lists:
        vector += 8  # the number of its row
    elif graph:
        vector += 8 * int(graph[1]) + 16  # its edges
    centroids = (min(int(lists[1]), count) if lists else 0) + (_CODEBOOK if "PQ" in factory else 0)
    return int(count * vector + 4 * dim * centroids) + _REST


def build(
    vectors: Iterable[np.ndarray], dim: int, count: int, factory: str = "auto", seed: int = 0
) -> "faiss.Index":
    """Train on a random sample, then add block by block; only the index holds all vectors.

    vectors: blocks (n_i, dim), float16 or float32, norm ≤ 1, `count` rows in all. Read twice (training,
    adding), hence a list or an object whose `__iter__` starts anew: an iterator is refused.
    factory: see `resolve_factory`. seed: of the sample and of the clustering.
    Raises InputError for an unusable vector, another number of rows, or too few to train on.
    """
    if isinstance(vectors, Iterator):
        raise InputError("vectors are read twice: give a list or an object whose __iter__ starts anew")
    resolved = resolve_factory(factory, dim, count)
    index = _empty_index(resolved, dim)
    if count and not index.is_trained:
        _train(index, resolved, take_rows(vectors, _sample(index, count, seed)), seed)
    for block in vectors:
        index.add(require_vectors(block, dim, first=index.ntotal))
    if index.ntotal != count:
        raise InputError(f"{index.ntotal} vectors came for {count} ids: both must come from the same rows")
    return index


def lists_probed(index: "faiss.Index") -> int:
    """Lists that a search of a fresh index looks through: a sixteenth, at least 16; 1 without lists."""
    lists = faiss.try_extract_index_ivf(index)
    return 1 if lists is None else int(lists.nprobe)


def write(index: "faiss.Index", path: Path) -> None:
    """Write the index; OSError when the disk refuses a byte. Syncing is left to who publishes the folder.

    Faiss's own file writer can report success on a full disk, so Python's file does the writing.
    """
    with path.open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
        file.flush()
        written = file.tell()
    if path.stat().st_size != written:
        raise StateError(f"{path}: {written} bytes were written, {path.stat().st_size} are there")


def read(path: Path, sha256: str | None = None) -> "faiss.Index":
    """Load an index, ready to search and to reconstruct.

    sha256: what the file must hash to, checked first: Faiss loads most flipped bytes without complaint. A
    file so checked is mapped: processes that open the same one share its memory, at the speed of their own.
    It may be removed while the index lives, but not written to.
    Raises StateError when the file is missing, differs, can't be read or is no inner-product index.
    """
    check_file(path, sha256)
    flags = faiss.IO_FLAG_MMAP_IFC if sha256 else 0  # the mapping of a truncated file would crash
    try:
        index = faiss.read_index(str(path), flags)
    except (RuntimeError, MemoryError) as error:
        raise StateError(f"{path}: no readable Faiss index; build it again ({error})") from error
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise StateError(f"{path}: metric {index.metric_type}, want inner product; build it again")
    lists = faiss.try_extract_index_ivf(index)
    if lists is not None:
        lists.make_direct_map()  # without it no vector of an IVF can be reconstructed
    return index


def check_file(path: Path, sha256: str | None) -> None:
    """Raise StateError when a file is missing or, where `sha256` is given, hashes to something else."""
    if not path.is_file():
        raise StateError(f"{path} is missing: roll back or build the generation again")
    if sha256 is not None and (found := sha256_file(path)) != sha256:
        raise StateError(f"{path}: sha256 is {found}, recorded is {sha256}: roll back or build it again")


def _empty_index(factory: str, dim: int) -> "faiss.Index":
    lists = _LISTS.search(factory)
    if "IDMap" in factory or (lists and int(lists[1]) == 0):
        raise InputError(f"index factory {factory!r}: IDMap and IVF0 can't be used")
    try:
        return faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, TypeError, OverflowError) as error:
        reason = str(error).rsplit("Error: ", maxsplit=1)[-1]
        raise InputError(f"index factory {factory!r} can't be built for dimension {dim}: {reason}") from error


def _sample(index: "faiss.Index", count: int, seed: int) -> np.ndarray:
    """Rows to train on: 64 a list, and enough for the 8-bit codes of a quantizer."""
    lists = faiss.try_extract_index_ivf(index)
    size = max(65_536, 64 * lists.nlist if lists is not None else 0)
    rows = np.random.default_rng(seed).choice(count, min(size, count), replace=False)
    return np.sort(rows)


def _train(index: "faiss.Index", factory: str, sample: np.ndarray, seed: int) -> None:
    lists = faiss.try_extract_index_ivf(index)
    if lists is not None:
        lists.cp.seed = seed
        lists.cp.min_points_per_centroid = 1  # fewer than 39 is Faiss's warning on stderr, not an error
        lists.nprobe = min(lists.nlist, max(16, lists.nlist // 16))
    try:
        index.train(require_vectors(sample, sample.shape[1]))
    except RuntimeError as error:
        raise InputError(f"{len(sample)} vectors can't train {factory!r}: {error}") from error
