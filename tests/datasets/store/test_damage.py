"""Flipped bits where no checksum is: each way of reading the store tells of them, or is not touched."""

import datetime
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.store.store import Store
from mmprod.storage.errors import StateError

DAY = datetime.date(2025, 3, 1)
READ: dict[str, Callable[[Store, Path], object]] = {
    "hash": lambda store, folder: store.state_hash(),
    "iterate": lambda store, folder: list(store.iterate()),
    "get": lambda store, folder: store.get("p00007"),
    "changes": lambda store, folder: list(store.changes_since()),
    "day": lambda store, folder: list(store.changes_of(DAY)),
    "placeholders": lambda store, folder: store.placeholder_hashes(2),
    "days": lambda store, folder: store.days(),
    "export": lambda store, folder: store.export(folder / "export.parquet"),
    "verify": lambda store, folder: store.verify(),
}


@pytest.fixture
def store(tmp_path: Path, day_tables: Any) -> Path:
    """A store of 30 products, closed."""
    path = tmp_path / "store"
    with Store.open(path) as made:
        table = day_tables.MemoryTable(day_tables.catalogue(30))
        ingest_day(made, table, DAY, full=True, pictures=day_tables.MemoryPictures())
    return path


def places(data: bytes, key: bytes) -> list[int]:
    found, start = [], data.find(key)
    while start >= 0:
        found.append(start)
        start = data.find(key, start + 1)
    return found


def test_a_flipped_bit_in_any_key_is_told_with_the_file_and_what_to_do(store: Path, tmp_path: Path) -> None:
    data = (store / "shard-000" / "data.mdb").read_bytes()
    flips = places(data, b"p00007")
    assert len(flips) >= 4, "states, records, sequence, changes"
    told: set[str] = set()
    for place in flips:
        for bit in (1, 8, 128):
            damaged = tmp_path / "damaged"
            shutil.copytree(store, damaged)
            with (damaged / "shard-000" / "data.mdb").open("r+b") as file:
                file.seek(place + 5)
                file.write(bytes([data[place + 5] ^ bit]))
            with Store.open(damaged, read_only=True) as found:
                for name, read in READ.items():
                    try:
                        read(found, tmp_path)
                    except StateError as error:
                        told.add(name)
                        assert "store verify" in str(error), error
            shutil.rmtree(damaged)
    assert told >= {"hash", "iterate", "changes", "export"}


def test_a_record_that_is_gone_is_missed(store: Path, tmp_path: Path) -> None:
    with Store.open(store) as opened:
        opened.shards[0].remove("records", [b"p00003"])
        for name in ("hash", "iterate", "export"):
            with pytest.raises(StateError, match=r"000/data.mdb is damaged: records\[p00003\] is missing"):
                READ[name](opened, tmp_path)


def test_pages_that_are_no_pages_are_told_with_the_file(store: Path) -> None:
    """Every page but the first two, which say how large all is, is overwritten with others' bytes."""
    file = store / "shard-000" / "data.mdb"
    data = file.read_bytes()
    with Store.open(store, read_only=True) as found:
        last = found.stats().bytes
    file.write_bytes(data[:8192] + b"\xff" * (last - 8192) + data[last:])
    with pytest.raises(StateError, match="shard-000"), Store.open(store, read_only=True) as found:
        list(found.iterate())


def test_what_a_writer_left_that_died_making_a_store_is_no_hindrance(tmp_path: Path) -> None:
    shard = tmp_path / "store" / "shard-000"
    shard.mkdir(parents=True)
    (shard / "lock.mdb").touch()
    left = shard.with_name(".shard-000.1")
    left.mkdir()
    (left / "data.mdb").touch()  # as a full disk leaves it
    with Store.open(tmp_path / "store") as store:
        assert store.stats().live == 0
    assert not left.exists()
