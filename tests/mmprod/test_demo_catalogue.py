"""The sample catalogue: the same by seed, worth what it says it planted, and answerable."""

import csv
import io
import json
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmprod.datasets.schemas import KINDS, PRODUCT
from mmprod.demo.catalogue import DELIVERED, TRUTH, render_catalogue
from mmprod.demo.days import plan_days
from mmprod.demo.draw import SIZE, picture
from mmprod.demo.hostile import UNUSABLE, spoiled
from mmprod.demo.items import make_items
from mmprod.demo.queries import LEAST, QUERY, make_queries, relevant_products
from mmprod.demo.reviewer import SimulatedReviewer
from mmprod.demo.studio import draw_all
from mmprod.demo.vocabulary import COLOURS
from mmprod.demo.vocabulary import KINDS as TYPES
from mmprod.storage.errors import InputError
from mmprod.storage.files import sha256_file

Row = dict[str, object]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("catalogue")
    render_catalogue(path, items=60, seed=3, workers=1)
    return path


def _days(folder: Path) -> list[pa.Table]:
    return [pq.read_table(folder / f"day{n}.parquet", page_checksum_verification=True) for n in (1, 2, 3)]


def _acceptable(row: Row) -> bool:
    id_ = row["product_id"]
    return id_ is not None and "E+" not in str(id_) and row["updated_at"].year < 2090  # type: ignore[attr-defined]


def _replay(tables: list[pa.Table]) -> list[Counter[str]]:
    """What each day does to a dict of products: the oracle, it knows only the rules of ingest."""
    known: dict[str, Row] = {}
    gone: set[str] = set()
    counts = []
    for table in tables:
        rows = table.to_pylist()
        good = {str(row["product_id"]): row for row in rows if _acceptable(row)}
        count = Counter(rows=len(rows), quarantined=len(rows) - len(good))
        missing = [id_ for id_ in known if id_ not in good and id_ not in gone]
        count["removed"] = len(missing)
        for id_, row in good.items():
            count[_kind(row, known.get(id_), id_ in gone)] += 1
            if id_ not in known or row["updated_at"] >= known[id_]["updated_at"]:  # type: ignore[operator]
                known[id_] = row
        gone = (gone | set(missing)) - set(good)
        counts.append(count)
    return counts


def _kind(row: Row, before: Row | None, was_gone: bool) -> str:
    if before is None:
        return "added"
    if was_gone:
        return "relisted"
    if row["updated_at"] < before["updated_at"]:  # type: ignore[operator]
        return "stale"
    if row["image"] != before["image"]:
        return "picture"
    if row["title"] != before["title"]:
        return "title"
    if row["brand"] != before["brand"]:
        return "fields"
    moving = ("sales", "attributes")
    return "volatile" if any(row[name] != before[name] for name in moving) else "unchanged"


@pytest.mark.parametrize("file", ["day2.parquet", "train.parquet", "truth.parquet", "queries.parquet"])
def test_same_seed_gives_the_same_files(folder: Path, tmp_path: Path, file: str) -> None:
    render_catalogue(tmp_path, items=60, seed=3, workers=1)
    assert sha256_file(folder / file) == sha256_file(tmp_path / file)


def test_another_seed_gives_other_products(folder: Path, tmp_path: Path) -> None:
    render_catalogue(tmp_path, items=60, seed=4, workers=1)
    pictures = [set(pq.read_table(path / "day1.parquet")["image"].to_pylist()) for path in (folder, tmp_path)]
    assert not pictures[0] & pictures[1]


@pytest.mark.slow
def test_pictures_do_not_depend_on_the_number_of_processes() -> None:
    orders = [(item, number) for number, item in enumerate(make_items(620, 5, "I"))]
    assert draw_all(orders, workers=2) == draw_all(orders, workers=1)


def test_each_day_counts_as_planted(folder: Path) -> None:
    planted = json.loads((folder / "planted.json").read_text())
    for day, found in zip(planted, _replay(_days(folder)), strict=True):
        for kind in ("rows", "unchanged", "volatile", *KINDS):
            assert found[kind] == day[kind], f"{day['file']}: {kind}"


@pytest.mark.parametrize(("items", "seed"), [(60, 1), (61, 9), (150, 2), (700, 7)])
def test_every_kind_is_planted_at_any_size_and_seed(items: int, seed: int) -> None:
    days = plan_days(make_items(items, seed, "I"), seed)
    last = days[2].planted
    assert all(last[kind] > 0 for kind in (*KINDS, "unchanged", "volatile", "picture_rejected"))
    for before, day in pairwise(days):
        assert day.planted["added"] + day.planted["relisted"] - day.planted["removed"] == len(day.live) - len(
            before.live
        )


def test_shares_are_those_of_a_calm_market() -> None:
    days = plan_days(make_items(1500, 7, "I"), 7)
    assert 1900 < len(days[0].rows) < 2200
    for kind, share in (
        ("added", 0.03),
        ("picture", 0.02),
        ("title", 0.03),
        ("fields", 0.02),
        ("removed", 0.02),
        ("volatile", 0.2),
    ):
        assert days[1].planted[kind] / days[1].planted["rows"] == pytest.approx(share, abs=0.005)
    listings = list(days[2].live.values())
    per_item = Counter(row.item.item_id for row in listings)
    assert sum(n > 1 for n in per_item.values()) / len(per_item) == pytest.approx(0.35, abs=0.05)
    assert sum(row.stuffed for row in listings) / len(listings) == pytest.approx(0.3, abs=0.04)
    chinese = sum(any("一" <= letter <= "鿿" for letter in row.title) for row in listings)
    assert chinese / len(listings) == pytest.approx(0.2, abs=0.04)


def test_tables_have_their_schemas_and_hide_the_truth(folder: Path) -> None:
    for table in _days(folder):
        assert table.schema == DELIVERED
        assert table["spu_id"].null_count == table.num_rows
        assert {key for row in table["attributes"].to_pylist() for key, _ in row} == {"price"}
    assert pq.read_schema(folder / "train.parquet") == PRODUCT
    assert pq.read_schema(folder / "truth.parquet") == TRUTH
    assert pq.read_schema(folder / "queries.parquet") == QUERY


def test_spu_ids_name_the_item_when_asked(tmp_path: Path) -> None:
    render_catalogue(tmp_path, items=60, workers=1, spu=True)
    items = {
        row["product_id"]: row["item_id"] for row in pq.read_table(tmp_path / "truth.parquet").to_pylist()
    }
    rows = pq.read_table(tmp_path / "day1.parquet").to_pylist()
    told = {row["product_id"]: row["spu_id"] for row in rows if row["product_id"] in items}
    assert told == {name: items[name] for name in told}
    assert len(set(told.values())) < len(told)


def test_truth_knows_every_acceptable_product_and_nothing_else(folder: Path) -> None:
    delivered = {
        row["product_id"] for table in _days(folder) for row in table.to_pylist() if _acceptable(row)
    }
    assert set(pq.read_table(folder / "truth.parquet")["product_id"].to_pylist()) == delivered


def test_training_items_are_not_in_the_catalogue(folder: Path) -> None:
    train = pq.read_table(folder / "train.parquet")
    assert train.num_rows == 240
    assert not set(train["image"].to_pylist()) & set(
        pq.read_table(folder / "day3.parquet")["image"].to_pylist()
    )
    traits = [{item.traits for item in make_items(60, seed, "X")} for seed in (3, 3 + 1_000_003)]
    assert not traits[0] & traits[1]


def test_every_query_has_enough_visible_answers(folder: Path) -> None:
    last = plan_days(make_items(60, 3, "I"), 3)[-1]
    shown = {id_ for id_, row in last.live.items() if row.broken not in UNUSABLE}
    queries = pq.read_table(folder / "queries.parquet")
    answers = relevant_products(queries, pq.read_table(folder / "truth.parquet"))
    assert queries.num_rows >= 5
    assert min(len(ids & shown) for ids in answers) >= LEAST
    assert set(queries["language"].to_pylist()) == {"en", "zh"}


def test_a_full_catalogue_has_forty_queries_of_all_forms() -> None:
    live = plan_days(make_items(1500, 7, "I"), 7)[-1].live
    queries = make_queries((row.item for row in live.values()), seed=7).to_pylist()
    assert len({row["query"] for row in queries}) == 40
    assert sum(row["language"] == "zh" for row in queries) >= 10
    assert all(
        sum(row[trait] is not None for row in queries) >= 8 for trait in ("colour", "pattern", "style")
    )
    assert sum(bool(row["types"] and row["colour"] and row["pattern"]) for row in queries) >= 5


def test_stuffed_titles_name_what_the_picture_does_not_show() -> None:
    for row in plan_days(make_items(200, 7, "I"), 7)[0].rows:
        if row.stuffed and row.title.isascii():
            _, _, lies = row.title.partition(" not ")
            assert any(colour in lies.split() for colour in COLOURS if colour != row.item.colour), row.title


def test_good_pictures_decode_and_bad_ones_are_what_they_claim(folder: Path) -> None:
    days = plan_days(make_items(60, 3, "I"), 3)
    broken = {id_: row.broken for id_, row in days[2].live.items()}
    for row in pq.read_table(folder / "day3.parquet").to_pylist():
        if not broken.get(row["product_id"]):
            with Image.open(io.BytesIO(row["image"])) as image:
                assert (image.size, image.mode, image.format) == ((SIZE, SIZE), "RGB", "JPEG")
                image.load()
    assert set(UNUSABLE) | {"cmyk", "deep"} <= set(broken.values())


def test_spoiled_pictures() -> None:
    jpeg = picture(make_items(1, 1, "I")[0], 1)
    assert spoiled("", jpeg) == jpeg
    assert spoiled("html", jpeg).startswith(b"<!DOCTYPE")
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(spoiled("truncated", jpeg))).load()
    forms = {kind: Image.open(io.BytesIO(spoiled(kind, jpeg))) for kind in ("tiny", "huge", "cmyk", "deep")}
    assert forms["tiny"].size == (1, 1)
    assert forms["huge"].size[0] * forms["huge"].size[1] > 40_000_000
    assert forms["cmyk"].mode == "CMYK"
    assert forms["deep"].mode == "I;16"


@pytest.mark.parametrize("type_", list(TYPES))
def test_a_picture_shows_its_colour(type_: str) -> None:
    """Red items are redder than the same items in blue, wherever the colour is on the product."""
    item = next(item for item in make_items(32, 2, "I") if item.type == type_)
    pixels = {}
    for colour in ("red", "blue"):
        jpeg = picture(replace(item, colour=colour, pattern="plain", style="classic"), 4)
        pixels[colour] = np.asarray(Image.open(io.BytesIO(jpeg)), dtype=np.float64)
    change = pixels["red"] - pixels["blue"]
    assert change[..., 0].max() > 100 and change[..., 2].min() < -80
    assert (np.abs(change).max(axis=2) > 60).mean() > 0.015


def test_too_small_a_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="items=59"):
        render_catalogue(tmp_path, items=59)


def test_reviewers_tell_the_truth_err_skip_and_are_lazy_as_often_as_asked(tmp_path: Path) -> None:
    sheet, filled = tmp_path / "sheet.csv", tmp_path / "filled.csv"
    rows = [f"p{n},'A,one,'{'A' if n % 3 == 0 else 'B'},other,," for n in range(4000)]
    header = "pair_id,anchor_id,anchor_title,product_id,product_title,label,reviewer"
    sheet.write_text("\n".join([header, *rows]), encoding="utf-8-sig")

    def labels(**how: Any) -> list[str]:
        count = SimulatedReviewer("anna", **how).fill_in(sheet, filled, lambda a, b: a == b)
        answered = list(csv.DictReader(filled.read_text("utf-8-sig").splitlines()))
        assert {row["reviewer"] for row in answered} == {"anna"}
        assert count == sum(bool(row["label"]) for row in answered)
        return [row["label"] for row in answered]

    right = ["same" if n % 3 == 0 else "different" for n in range(4000)]
    assert labels(error_rate=0.0) == right
    wrong = labels(error_rate=0.1)
    assert wrong == labels(error_rate=0.1)
    assert wrong != labels(error_rate=0.1, seed=2)
    assert np.mean(np.array(wrong) != np.array(right)) == pytest.approx(0.1, abs=0.02)  # 4 sigma
    assert np.mean(np.array(labels(skips=0.2)) == "") == pytest.approx(0.2, abs=0.03)
    assert set(labels(lazy=True)) == {"different"}


def test_reviewers_refuse_impossible_rates() -> None:
    with pytest.raises(InputError, match=r"error_rate=1\.5"):
        SimulatedReviewer("anna", 1.5)
    with pytest.raises(InputError, match=r"skips=-1"):
        SimulatedReviewer("anna", skips=-1)


def test_drawing_needs_neither_torch_nor_arrow() -> None:
    """Spawned drawing processes start fast: they import what draws and nothing else."""
    heavy = "{'torch', 'pyarrow', 'faiss'}"
    code = f"import sys, mmprod.demo.studio; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
