"""Building, writing and reading Faiss indexes. Inner product only; row i of the index is vector i."""

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
    faiss = lazy("faiss")  # slow to import, needed only to read or write an index

FLAT_BELOW = 50_000  # vectors; exact search in fewer takes milliseconds
_LISTS, _GRAPH = re.compile(r"IVF(\d+)"), re.compile(r"HNSW(\d+)")
_CODEBOOK = 256  # centroids of each part of a product quantizer
_REST = 16_384  # bytes of an index besides vectors and centroids
_log = logging.getLogger(__name__)


def resolve_factory(factory: str, dim: int, count: int) -> str:
    """The actual Faiss factory string of an index, to be recorded with it.

    "auto" is Flat below FLAT_BELOW vectors, else IVF with 4√count lists. A string with more lists than
    vectors gets count // 39 lists (Faiss recommends 39 training points a list), at least one.
    Raises InputError for a string that Faiss can't build, or that renumbers rows (IDMap).
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
    """Approximate size in bytes of an index of `count` vectors, on disk and in memory while it is built.

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
        vector += 8  # its row number
    elif graph:
        vector += 8 * int(graph[1]) + 16  # its graph edges
    centroids = (min(int(lists[1]), count) if lists else 0) + (_CODEBOOK if "PQ" in factory else 0)
    return int(count * vector + 4 * dim * centroids) + _REST


def build(
    vectors: Iterable[np.ndarray],
    dim: int,
    count: int,
    factory: str = "auto",
    seed: int = 0,
    empty: "faiss.Index | None" = None,
) -> "faiss.Index":
    """Train an index on a random sample, then add the vectors block by block, without a copy of all of them.

    `empty`: a trained index to be filled; then nothing is trained, and `factory` and `seed` don't matter.

    vectors: blocks (n_i, dim), float16 or float32, norm ≤ 1, `count` rows in all. They are read twice
    (training, adding), so pass a list or an object whose `__iter__` starts again; an iterator is refused.
    factory: see `resolve_factory`. seed: for the sample and the clustering.
    Raises InputError for an unusable vector, another number of rows, or too few rows to train on.
    """
    index = trained(vectors, dim, count, factory, seed) if empty is None else empty
    for block in vectors:
        index.add(require_vectors(block, dim, first=index.ntotal))
    if index.ntotal != count:
        raise InputError(f"{index.ntotal} vectors came for {count} ids: both must come from the same rows")
    return index


def trained(
    vectors: Iterable[np.ndarray], dim: int, count: int, factory: str = "auto", seed: int = 0
) -> "faiss.Index":
    """An empty index, trained on a random sample if its kind needs that; parameters as of `build`."""
    if isinstance(vectors, Iterator):
        raise InputError("vectors are read twice: give a list or an object whose __iter__ starts anew")
    resolved = resolve_factory(factory, dim, count)
    index = _empty_index(resolved, dim)
    if count and not index.is_trained:
        _train(index, resolved, take_rows(vectors, _sample(index, count, seed)), seed)
    return index


def needs_training(factory: str, dim: int) -> bool:
    """Whether an index of this kind has to be trained before vectors are added."""
    return not _empty_index(factory, dim).is_trained


def lists_probed(index: "faiss.Index") -> int:
    """Number of lists searched by default in a new index: a sixteenth, at least 16; 1 without lists."""
    lists = faiss.try_extract_index_ivf(index)
    return 1 if lists is None else int(lists.nprobe)


def write(index: "faiss.Index", path: Path) -> None:
    """Write the index; OSError when the disk is full or fails. The caller syncs the folder.

    Faiss's own file writer can report success on a full disk, so a Python file object is used.
    """
    with path.open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
        file.flush()
        written = file.tell()
    if path.stat().st_size != written:
        raise StateError(f"{path}: {written} bytes were written, {path.stat().st_size} are there")


def read(path: Path, sha256: str | None = None, mapped: bool = True) -> "faiss.Index":
    """Load an index, ready for searching and for reconstructing vectors.

    sha256: the expected hash, verified first, since Faiss does not detect most flipped bytes. A verified file
    is memory-mapped: processes that open the same file share its memory, without loss of speed. The file may
    be removed while the index is in use, but must not be written to. An index that is to be changed is read
    with `mapped` false.
    Raises StateError when the file is missing, differs, can't be read or is not an inner-product index.
    """
    check_file(path, sha256)
    # Mapping an unverified, truncated file would crash.
    flags = faiss.IO_FLAG_MMAP_IFC if sha256 and mapped else 0
    try:
        index = faiss.read_index(str(path), flags)
    except (RuntimeError, MemoryError) as error:
        raise StateError(f"{path}: no readable Faiss index; build it again ({error})") from error
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise StateError(f"{path}: metric {index.metric_type}, want inner product; build it again")
    lists = faiss.try_extract_index_ivf(index)
    if lists is not None and index.ntotal:
        lists.make_direct_map()  # required for reconstructing vectors of an IVF index
    return index


def check_file(path: Path, sha256: str | None) -> None:
    """Raise StateError when a file is missing or, if `sha256` is given, has another hash."""
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
    """Rows to train on: 64 a list, and at least enough for the 8-bit codes of a quantizer."""
    lists = faiss.try_extract_index_ivf(index)
    size = max(65_536, 64 * lists.nlist if lists is not None else 0)
    rows = np.random.default_rng(seed).choice(count, min(size, count), replace=False)
    return np.sort(rows)


def _train(index: "faiss.Index", factory: str, sample: np.ndarray, seed: int) -> None:
    lists = faiss.try_extract_index_ivf(index)
    if lists is not None:
        lists.cp.seed = seed
        lists.cp.min_points_per_centroid = 1  # below 39 Faiss would print a warning to stderr
        lists.nprobe = min(lists.nlist, max(16, lists.nlist // 16))
    try:
        index.train(require_vectors(sample, sample.shape[1]))
    except RuntimeError as error:
        raise InputError(f"{len(sample)} vectors can't train {factory!r}: {error}") from error
