import hashlib
from pathlib import Path

import faiss
import numpy as np
import pytest

from mmprod.retrieval import index
from mmprod.storage.errors import InputError, StateError


def vectors(n: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("factory", "count", "resolved"),
    [
        ("auto", 0, "Flat"),
        ("auto", 49_999, "Flat"),
        ("auto", 50_000, "IVF894,Flat"),
        ("auto", 1_000_000, "IVF4000,Flat"),
        ("IVF64,Flat", 64, "IVF64,Flat"),
        ("IVF64,Flat", 63, "IVF1,Flat"),
        ("IVF4096,SQ8", 2000, "IVF51,SQ8"),
        ("HNSW16", 10, "HNSW16"),
    ],
)
def test_factory_follows_the_count(factory: str, count: int, resolved: str) -> None:
    assert index.resolve_factory(factory, 16, count) == resolved


@pytest.mark.parametrize("factory", ["", "Foo", "PQ7", "IVF0,Flat", "IDMap,Flat", "IVF99999999999999,Flat"])
def test_bad_factory_is_refused_before_a_vector_is_read(factory: str) -> None:
    class Unread:
        def __iter__(self) -> None:
            raise AssertionError("read")

    with pytest.raises(InputError, match="factory"):
        index.build(Unread(), 16, 10**15, factory)  # type: ignore[arg-type]


@pytest.mark.parametrize("factory", ["Flat", "IVF16,Flat"])
def test_blocks_and_half_precision_make_no_difference(factory: str) -> None:
    x = vectors(700).astype(np.float16)
    whole = index.build([x], 16, 700, factory)
    pieces = index.build([x[:1], x[1:400], x[400:400], x[400:].astype(np.float32)], 16, 700, factory)
    assert np.array_equal(faiss.serialize_index(whole), faiss.serialize_index(pieces))


def test_what_comes_from_an_iterator_is_refused() -> None:
    with pytest.raises(InputError, match="read twice"):
        index.build(iter([vectors(10)]), 16, 10)


def test_fewer_vectors_than_lists() -> None:
    x = vectors(50)
    made = index.build([x], 16, 50, "IVF100,Flat")
    assert made.ntotal == 50
    assert made.search(x, 1)[1].ravel().tolist() == list(range(50))


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "IVF4,PQ4"])
def test_no_vectors_at_all(factory: str) -> None:
    assert index.build([], 16, 0, factory).ntotal == 0


def test_too_few_vectors_to_train_a_quantizer() -> None:
    with pytest.raises(InputError, match="100 vectors can't train 'PQ4'"):
        index.build([vectors(100)], 16, 100, "PQ4")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_unusable_vector_is_named(bad: float) -> None:
    x = vectors(30)
    x[17] = bad
    with pytest.raises(InputError, match="vector 17 is unusable"):
        index.build([x[:10], x[10:]], 16, 30)


@pytest.mark.parametrize("count", [29, 31])
@pytest.mark.parametrize("factory", ["Flat", "IVF2,Flat"])
def test_another_number_of_vectors_than_ids(count: int, factory: str) -> None:
    with pytest.raises(InputError, match=r"30"):
        index.build([vectors(30)], 16, count, factory)


def test_full_disk_is_an_error() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(OSError, match="No space"):
        index.write(index.build([vectors(5000)], 16, 5000), full)


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "IVF8,SQ8", "HNSW8"])
def test_written_index_reads_back_and_reconstructs(factory: str, tmp_path: Path) -> None:
    x = vectors(400)
    made = index.build([x], 16, 400, factory)
    index.write(made, tmp_path / "i")
    again = index.read(tmp_path / "i", hashlib.sha256((tmp_path / "i").read_bytes()).hexdigest())
    assert np.array_equal(again.search(x, 5)[1], made.search(x, 5)[1])
    assert np.allclose(again.reconstruct_batch(np.arange(400)), x, atol=0.02)


KINDS = ("Flat", "SQfp16", "HNSW8", "PCA8,IVF4,SQ8", "IVF8,Flat", "IVF8,RaBitQ,Refine(SQfp16)")


@pytest.mark.parametrize("factory", KINDS)
def test_a_checked_file_is_mapped_and_answers_the_same(factory: str, tmp_path: Path) -> None:
    x, path = vectors(400), tmp_path / "i"
    index.write(index.build([x], 16, 400, factory), path)
    own, mapped = index.read(path), index.read(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert str(path) in Path("/proc/self/maps").read_text()
    path.unlink()  # as a release is when it is pruned
    for one, other in zip(own.search(x, 5), mapped.search(x, 5), strict=True):
        assert np.array_equal(one, other)
    rows = np.arange(400)[::-7]
    assert np.array_equal(own.reconstruct_batch(rows), mapped.reconstruct_batch(rows))


def test_every_flipped_byte_is_found_by_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "i"
    index.write(index.build([vectors(50)], 16, 50), path)
    content = path.read_bytes()
    recorded = hashlib.sha256(content).hexdigest()
    for place in np.random.default_rng(0).choice(len(content), 50, replace=False):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(StateError, match=rf"sha256 is [0-9a-f]+, recorded is {recorded}"):
            index.read(path, recorded)


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_index_is_refused_even_without_checksum(factory: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "i"
    index.write(index.build([vectors(400)], 16, 400, factory), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(StateError, match="build it again"):
        index.read(path)


def test_missing_file_and_other_metric(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="missing"):
        index.read(tmp_path / "none")
    faiss.write_index(faiss.IndexFlatL2(4), str(tmp_path / "l2"))
    with pytest.raises(StateError, match="metric"):
        index.read(tmp_path / "l2")
