"""Units planned, encoded by workers without the store, and taken: the table is the one of a single run."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmprod.datasets.embeddings import units
from mmprod.stages.daily import unit_encoding
from mmprod.stages.daily.unit_encoding import OvertakenError, Worker, encode_units
from mmprod.stages.outcome import Outcome
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.shared_folder import open_folder


def test_a_night_over_units_and_the_next(shop) -> None:
    assert shop.plan().detail["units"] == len(shop.files("arrow")) > 2
    assert shop.encode().changed == 13
    assert shop.encode().changed == 0, "parts that are there are not made again"
    assert shop.take().changed == 13
    shop.check()
    assert shop.embed().rows == 0
    assert shop.take().changed == 0, "what was taken is not taken twice"

    shop.day([shop.product(number, number % 5, number % 4) for number in range(1, 15)])
    shop.next_plan()
    shop.plan()
    shop.encode()
    shop.take()
    shop.check()


def test_a_plan_without_changes_has_no_units(shop) -> None:
    shop.embed()
    assert shop.plan().detail["units"] == 0
    assert shop.encode().rows == shop.take().rows == 0


def test_the_same_plan_is_kept_and_another_one_goes_elsewhere(shop) -> None:
    shop.plan()
    before = {path: path.stat().st_mtime_ns for path in shop.units.iterdir()}
    shop.plan()
    assert {path: path.stat().st_mtime_ns for path in shop.units.iterdir()} == before
    shop.day([shop.product(number, 3, 3) for number in range(3)])
    with pytest.raises(InputError, match="another folder"):
        shop.plan()


def test_a_unit_ends_beyond_its_bytes_and_has_each_picture_once(tmp_path: Path, opened) -> None:
    shop = opened(tmp_path, part_rows=100, unit_bytes=2_600, shards=1)
    shop.day([shop.product(number, 2 + number // 8, 1) for number in range(16)])
    shop.plan()
    assert len(shop.files("arrow")) > 1
    for unit in shop.planned.units:
        rows = pa.ipc.open_file(str(shop.units / unit.file)).read_all()
        pictures = [picture for picture in rows["picture"].to_pylist() if picture]
        assert len(pictures) == len(set(pictures)) == len(set(rows["image_hash"].to_pylist()))
        assert rows["encode_image"].to_pylist() == [True] * unit.rows
    starts = [unit.span.start for unit in shop.planned.units]
    assert starts == [0, *(unit.span.end for unit in shop.planned.units[:-1])]


def test_a_torn_unit_is_refused_by_name_and_the_others_go_on(shop) -> None:
    shop.plan()
    torn, gone = shop.files("arrow")[:2]
    shop.flip(torn)
    gone.unlink()
    with pytest.raises(StateError, match=f"2 of .* units can't be encoded.*{torn.stem}"):
        shop.encode()
    assert len(shop.files("parquet")) == len(shop.planned.units) - 2
    assert shop.take().detail["missing"] == 2
    assert shop.embed().changed > 0
    shop.check()


def altered(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    table = pq.read_table(path)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)


ALTERATIONS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "a row is missing": lambda rows: rows.slice(1),
    "a row is doubled": lambda rows: pa.concat_tables([rows.slice(1), rows.slice(rows.num_rows - 1)]),
    "a column is missing": lambda rows: rows.drop_columns(["live"]),
    "another shop's product": lambda rows: rows.set_column(
        0, rows.schema.field(0), pa.array(["foreign", *rows["product_id"].to_pylist()[1:]])
    ),
    "another title": lambda rows: rows.set_column(
        2, rows.schema.field(2), pa.array([b"another title..."] * rows.num_rows, pa.binary(16))
    ),
}


def test_a_part_that_is_not_of_its_unit_is_left_out(shop) -> None:
    """Altered, damaged, or another unit's: each time the same part; then it is whole again."""
    shop.plan()
    shop.encode()
    part = next(path for path in shop.files("parquet") if pq.read_metadata(path).num_rows > 1)
    whole = part.read_bytes()
    wrong: list[Callable[[], Any]] = [lambda a=a: altered(part, a) for a in ALTERATIONS.values()]
    wrong += [lambda: shop.flip(part, 0.3), lambda: shutil.copy(shop.files("parquet")[-1], part)]
    for make in wrong:
        make()
        with pytest.raises(StateError, match=f"1 parts can't be merged.*{part.stem}"):
            shop.take()
        part.write_bytes(whole)
    shop.take()
    shop.check()


def test_a_unit_of_another_encoder_is_not_encoded(shop) -> None:
    shop.plan()
    plan = replace(shop.planned, encoder="f" * 64)
    units.write_plan(shop.exchange, plan)
    with pytest.raises(InputError, match="fingerprint ffffffffffff"):
        encode_units(shop.lake, shop.config, str(shop.units))
    with pytest.raises(StateError, match="no embedding table"):
        shop.take()


def test_without_a_plan_there_is_nothing_to_do(shop) -> None:
    with pytest.raises(InputError, match="has no plan"):
        shop.encode()
    with pytest.raises(InputError, match="has no plan"):
        shop.take()


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"nowhere://units can.t be opened"):
        open_folder("nowhere://units")


def test_a_damaged_plan_is_refused(shop) -> None:
    shop.plan()
    shop.flip(shop.units / units.PLAN, 0.9)
    with pytest.raises(StateError, match="units1"):
        shop.encode()


def test_a_unit_begun_by_a_dead_worker_is_done_last(shop, monkeypatch) -> None:
    shop.plan()
    dead = shop.planned.units[0]
    shop.exchange.mark(dead.begun)
    done: list[str] = []
    encode = Worker.encode
    monkeypatch.setattr(
        Worker, "encode", lambda self, unit, *rest: (done.append(unit.name), encode(self, unit, *rest))
    )
    shop.encode()
    assert done[-1] == dead.name
    assert len(done) == len(set(done)) == len(shop.planned.units)


def test_a_worker_that_another_one_overtakes_stops(tmp_path: Path, opened, monkeypatch) -> None:
    shop = opened(tmp_path, part_rows=20, shards=1)
    shop.day([shop.product(number, number % 7, number % 4) for number in range(13)])
    shop.plan()
    [unit] = shop.planned.units
    worker = shop.worker()
    monkeypatch.setattr(unit_encoding, "_LOOK", -1.0)
    part = shop.units / unit.part
    with pytest.raises(OvertakenError):
        worker.encode(unit, Outcome("encode"), lambda rows, note="": part.write_bytes(b"the other's"))
    assert part.read_bytes() == b"the other's"
    assert not list(shop.units.glob(".*.draft"))
