"""2,000 real fashion products, columns under the shop's own names, through three days of the pipeline."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmprod.config import Config, load
from mmprod.encoders.train import Plan
from mmprod.lake import Lake
from mmprod.stages.daily.embed import open_embeddings
from mmprod.stages.daily.recall import read_recall
from mmprod.stages.daily.run import run_day
from mmprod.stages.encoder import load_encoder
from mmprod.stages.outcome import Outcome
from mmprod.stages.search.search import search_product, search_text
from mmprod.stages.store import open_store
from mmprod.stages.training.train import train_encoder

pytestmark = pytest.mark.slow

PRODUCTS = Path(__file__).parents[3] / "shared" / "data" / "fashion" / "products.parquet"
DAYS = [date(2024, 3, day) for day in (1, 2, 3)]
SETTINGS = """
lake = "lake"
[table]
category = ["category_l1", "category_l2", "category_l3"]
attributes = ["gender", "colour", "season", "usage"]
[table.columns]
product_id = "sku"
updated_at = "modified"
[encoder]
commit_rows = 400
[index]
max_similarity = 1.0  # the encoder is too young for this gate
"""
LOCKS = (".lock", "LOCK", "lock.mdb")
KINDS = ("added", "title", "picture", "fields", "removed", "relisted", "stale")

Rows = dict[str, dict[str, object]]


@dataclass
class Shop:
    """Three days of a shop, each run twice."""

    folder: Path
    days: list[Rows]
    runs: list[tuple[list[Outcome], list[Outcome]]] = field(default_factory=list)
    contents: list[tuple[dict[str, str], dict[str, str]]] = field(default_factory=list)

    @property
    def config(self) -> Config:
        return load(self.folder / "mmprod.toml").config

    @property
    def lake(self) -> Lake:
        return Lake(self.config.lake)

    def run_twice(self, number: int) -> None:
        path = write(self.folder / f"day{number + 1}.parquet", self.days[number])
        first = run_day(self.lake, self.config, path, DAYS[number])
        before = contents(self.lake.root)
        self.runs.append((first, run_day(self.lake, self.config, path, DAYS[number])))
        self.contents.append((before, contents(self.lake.root)))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    if not PRODUCTS.exists():
        pytest.skip(f"the fashion products are not there: {PRODUCTS}")
    folder = tmp_path_factory.mktemp("fashion")
    rows = pq.read_table(PRODUCTS).to_pylist()[::10]
    training = {row["sku"]: row for row in rows if place(row["sku"], "split") < 40}
    pictures, titles = {r["image"] for r in training.values()}, {r["title"] for r in training.values()}
    unseen = [r for r in rows if r["image"] not in pictures and r["title"] not in titles | {None}]
    shop = Shop(folder, days([{**row, "modified": noon(0)} for row in unseen]))
    (folder / "mmprod.toml").write_text(SETTINGS)
    train = write(folder / "train.parquet", {n: {**row, "modified": noon(0)} for n, row in training.items()})
    train_encoder(shop.lake, shop.config, train, Plan(steps=60, batch=64, learning_rate=1e-3))
    for number in range(3):
        shop.run_twice(number)
    return shop


def place(sku: str, purpose: str) -> int:
    """A number below 100 that depends on nothing but the product and the purpose."""
    return int.from_bytes(hashlib.sha256(f"{purpose} {sku}".encode()).digest()[:8]) % 100


def noon(day: int) -> datetime:
    return datetime(2024, 3, day + 1, 12, tzinfo=UTC)


def days(unseen: list[dict[str, object]]) -> list[Rows]:
    """Of the products of day 1, on day 2 some are gone and some changed; day 3 undoes it, partly too late."""
    at = {str(row["sku"]): place(str(row["sku"]), "day") for row in unseen}
    rows: Rows = {str(row["sku"]): row for row in unseen}
    first = {sku: row for sku, row in rows.items() if at[sku] < 80}
    second = {sku: row for sku, row in rows.items() if 4 <= at[sku] < 90}
    pictures = [row["image"] for row in first.values()]
    for sku in second:
        if at[sku] < 8:
            second[sku] = {**rows[sku], "title": f"{rows[sku]['title']} new", "modified": noon(1)}
        elif at[sku] < 12:
            second[sku] = {**rows[sku], "image": pictures[at[sku]], "modified": noon(1)}
        elif at[sku] < 16:
            second[sku] = {**rows[sku], "season": "Any", "modified": noon(1)}
    third = {sku: second.get(sku, row) for sku, row in rows.items() if at[sku] >= 2}
    third |= {sku: row for sku, row in first.items() if 4 <= at[sku] < 6}  # as they were: too late
    return [first, second, third]


def write(path: Path, rows: Rows) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows.values())), path)
    return path


def contents(lake: Path) -> dict[str, str]:
    """Every file of the lake by its content, but locks and the records of runs."""
    files = (p for p in lake.rglob("*") if p.is_file() and p.name not in LOCKS)
    kept = (p for p in files if p.parent != lake / "runs")
    return {str(p.relative_to(lake)): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}


def planted(before: Rows, rows: Rows, gone_before: set[str]) -> dict[str, int]:
    """What a day's rows do to those before, told from the rows alone."""
    counts = dict.fromkeys((*KINDS, "unchanged"), 0)
    for sku, row in rows.items():
        counts[_kind(before.get(sku), row, sku in gone_before)] += 1
    return {**counts, "removed": len(before.keys() - rows.keys())}


def _kind(old: dict[str, object] | None, new: dict[str, object], known: bool) -> str:
    if old is None:
        return "relisted" if known else "added"
    if new["modified"] < old["modified"]:  # type: ignore[operator]
        return "stale"
    parts = {"picture": "image", "title": "title", "fields": "season"}
    return next((kind for kind, column in parts.items() if old[column] != new[column]), "unchanged")


def test_each_days_counts_are_as_planted_and_balance(shop) -> None:
    before: Rows = {}
    seen: set[str] = set()
    for rows, (outcomes, _) in zip(shop.days, shop.runs, strict=True):
        ingest, plan = outcomes[0], planted(before, rows, seen)
        assert {kind: ingest.detail[kind] for kind in KINDS} == {kind: plan[kind] for kind in KINDS}
        assert (ingest.rows, ingest.reused, ingest.refused) == (len(rows), plan["unchanged"], 0)
        assert ingest.rows == sum(plan.values()) - plan["removed"]
        before, seen = rows, seen | rows.keys()
    assert all(plan[kind] for kind in ("relisted", "stale"))


def test_a_second_run_encodes_nothing_and_changes_no_file(shop) -> None:
    for (_, again), (before, after) in zip(shop.runs, shop.contents, strict=True):
        embed = next(outcome for outcome in again if outcome.stage == "embed")
        assert (embed.changed, embed.detail) == (0, {})
        assert after == before


def test_only_changed_pictures_and_titles_are_encoded(shop) -> None:
    ingest, embed = shop.runs[1][0][:2]
    added = ingest.detail["added"]
    assert 0 < embed.detail["pictures"] <= added + ingest.detail["picture"]
    assert 0 < embed.detail["titles"] <= added + ingest.detail["title"]


def test_the_shops_columns_arrive_under_our_names(shop) -> None:
    with open_store(shop.lake, shop.config) as store:
        for sku, row in list(shop.days[2].items())[::50]:
            record = store.get(sku)
            assert record is not None
            assert list(record.category) == [row[f"category_l{level}"] for level in (1, 2, 3)]
            given = {name: row[name] for name in ("gender", "colour", "usage") if row[name]}
            assert given.items() <= dict(record.attributes).items()


def test_every_live_product_has_vectors_and_neighbours(shop) -> None:
    live = set(shop.days[2])
    table = open_embeddings(shop.lake, shop.config, load_encoder(shop.lake, shop.config))
    assert {name for batch in table.batches() for name in batch["product_id"].to_pylist()} == live
    for profile in shop.config.recall.profiles:
        recall = read_recall(shop.lake, profile)
        assert set(recall["anchor_id"].to_pylist()) == live
        assert set(recall["product_id"].to_pylist()) <= live
        assert recall.num_rows == len(live) * shop.config.recall.k


@pytest.fixture
def shoe_lake(shop, tmp_path: Path) -> Iterator[tuple[Lake, Config]]:
    """A lake of another seller, who has shoes only, under the same encoder."""
    settings = (shop.folder / "mmprod.toml").read_text()
    (tmp_path / "mmprod.toml").write_text(settings)
    name = shop.lake.encoder_name(shop.config.encoder.model)
    config = load(tmp_path / "mmprod.toml", {"encoder.model": name}).config
    shoes = {
        n: {**r, "sku": f"S{n}"} for n, r in shop.days[2].items() if r["category_l2"] in ("Shoes", "Sandal")
    }
    run_day(Lake(config.lake), config, write(tmp_path / "shoes.parquet", shoes), DAYS[0])
    yield Lake(config.lake), config


def test_answers_come_from_the_lake_that_is_asked(shop, shoe_lake) -> None:
    lake, config = shoe_lake
    encoder = load_encoder(lake, config)
    with open_store(lake, config) as store:
        found = search_text(lake, store, encoder, "black women heels", "selection", 20)
        assert len(found) == 20
        assert all(f.product_id.startswith("S") and f.category.startswith("Footwear") for f in found)
    with open_store(shop.lake, shop.config) as store:
        found = search_text(shop.lake, store, encoder, "black women heels", "selection", 20)
        assert {f.product_id for f in found} <= set(shop.days[2])


def test_neighbours_keep_to_a_category_and_leave_the_product_out(shop) -> None:
    sku = next(sku for sku, row in shop.days[2].items() if row["category_l3"] == "Watches")
    with open_store(shop.lake, shop.config) as store:
        found = search_product(shop.lake, store, sku, "same_item", 10, "Accessories")
    assert sku not in {f.product_id for f in found}
    assert {f.category.partition(" > ")[0] for f in found} == {"Accessories"}
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    assert all(f.score == pytest.approx((f.image_score + f.text_score) / 2, abs=1e-3) for f in found)
