"""Reading training pictures from the store: the same whoever reads, in whatever order."""

import io
import pickle
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.pairs.augment import Augment, plain
from mmprod.datasets.pairs.pairs import candidates, numbered
from mmprod.datasets.pairs.reader import PairReader
from mmprod.datasets.store.store import Store
from mmprod.storage.errors import StateError

N = 12
AUGMENT = Augment(32, "longest", 255)


def png(seed: int, size: tuple[int, int] = (40, 50)) -> bytes:
    levels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(levels).save(out, "PNG")
    return out.getvalue()


def fill(store: Store, rows: list[dict[str, object]], day_tables) -> None:
    table, pictures = day_tables.MemoryTable(rows), day_tables.MemoryPictures()
    ingest_day(store, table, date(2024, 1, 1), full=True, pictures=pictures)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, day_tables) -> Path:
    path = tmp_path_factory.mktemp("store") / "store"
    rows = [{"product_id": f"p{at}", "title": f"Lamp {at}", "image": png(at)} for at in range(N)]
    rows.append({"product_id": "torn", "title": "Torn", "image": png(99)[:500]})
    with Store.open(path, shards=2) as store:
        fill(store, rows, day_tables)
    return path


@pytest.fixture(scope="module")
def pairs(path: Path) -> pa.Table:
    with Store.open(path, read_only=True) as store:
        return numbered(candidates(store.iterate())[0])


def read(reader: PairReader, order: list[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    return {at: reader[at].tobytes() for at in order}


def test_what_is_read_is_the_augmented_picture(path: Path, pairs: pa.Table) -> None:
    reader = PairReader(path, pairs, plain(50, "longest"), seed=0)
    assert len(reader) == len(pairs)
    row = pairs["product_id"].to_pylist().index("p7")
    picture = Image.open(io.BytesIO(png(7)))
    assert np.array_equal(reader[0, row], plain(50, "longest")(picture, np.random.default_rng(0)))


def test_order_epochs_and_other_readers_change_nothing(path: Path, pairs: pa.Table) -> None:
    good = [row for row, name in enumerate(pairs["product_id"].to_pylist()) if name != "torn"]
    order = [(epoch, row) for epoch in range(3) for row in good]
    first = read(PairReader(path, pairs, AUGMENT, seed=5), order)
    assert read(PairReader(path, pairs, AUGMENT, seed=5, cache_bytes=30_000), order[::-1]) == first
    assert len(set(first.values())) == len(order)
    other = read(PairReader(path, pairs, AUGMENT, seed=6), order)
    assert not set(other.values()) & set(first.values())
    some = pairs.slice(4, 3)
    alone = PairReader(path, some, AUGMENT, seed=5)
    for row in range(3):
        if 4 + row in good:
            assert alone[2, row].tobytes() == first[2, 4 + row]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
def test_spawned_workers_read_the_same(path: Path, pairs: pa.Table) -> None:
    good = [row for row, name in enumerate(pairs["product_id"].to_pylist()) if name != "torn"]
    order = [(epoch, row) for epoch in (0, 1) for row in good]
    reader = PairReader(path, pairs, AUGMENT, seed=3, cache_bytes=1 << 20)
    reader[0, good[0]]  # open here already: the handle and the cache must not travel
    spread = DataLoader(reader, 4, sampler=order, num_workers=2, multiprocessing_context="spawn")
    here = DataLoader(reader, 4, sampler=order)
    for far, near in zip(spread, here, strict=True):
        assert far.shape == (4, 3, 32, 32)
        assert np.array_equal(far.numpy(), near.numpy())


def test_the_cache_keeps_to_its_room_and_stays_at_home(path: Path, pairs: pa.Table) -> None:
    one = 4 * 40 * 50
    reader = PairReader(path, pairs, AUGMENT, seed=0, cache_bytes=3 * one + 7)
    for row in range(6):
        reader[0, row]
    assert len(reader._cache) == 3
    copy = pickle.loads(pickle.dumps(reader))
    assert not copy._cache
    for row in range(6):
        assert np.array_equal(copy[0, row], reader[0, row])
    assert len(copy._cache) == 3


def test_readers_share_the_store_and_close_it_with_the_last(path: Path, pairs: pa.Table) -> None:
    train, held_out = (PairReader(path, pairs, AUGMENT, seed) for seed in (0, 1))
    train[0, 0], held_out[0, 0]
    with pytest.raises(StateError, match="already"):
        Store.open(path)
    del train
    assert held_out[0, 0].shape == (3, 32, 32)
    del held_out
    Store.open(path).close()


def test_a_picture_that_is_spoiled_or_gone_is_named(path: Path, pairs: pa.Table) -> None:
    row = pairs["product_id"].to_pylist().index("torn")
    with pytest.raises(StateError, match="'torn' can't be decoded: truncated"):
        PairReader(path, pairs, AUGMENT, 0)[0, row]
    gone = pairs.set_column(3, pairs.schema.field(3), pa.array([b"x" * 16] * len(pairs), pa.binary(16)))
    with pytest.raises(StateError, match="of 'p0' is gone"):
        PairReader(path, gone, AUGMENT, 0)[0, 0]
    with pytest.raises(IndexError):
        PairReader(path, pairs, AUGMENT, 0)[0, len(pairs)]


def test_large_jpegs_are_decoded_no_larger_than_needed(tmp_path: Path, day_tables) -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(png(1, (800, 1200)))).save(out, "JPEG")
    with Store.open(tmp_path / "s") as store:
        rows = [{"product_id": "big", "title": "Big", "image": out.getvalue()}]
        fill(store, rows, day_tables)
        pairs = numbered(candidates(store.iterate())[0])
    reader = PairReader(tmp_path / "s", pairs, Augment(64), 0, cache_bytes=1 << 30)
    assert reader[0, 0].shape == (3, 64, 64)
    assert [picture.size for picture in reader._cache.values()] == [(150, 100)]
