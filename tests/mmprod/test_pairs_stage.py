"""Training pairs of a store: planted rubbish is found, good products stay, every product is accounted for."""

import importlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmprod.cli.app import app
from mmprod.config import Config, load
from mmprod.datasets.pairs import quality
from mmprod.datasets.pairs.pairs import PAIR, REJECTED
from mmprod.datasets.store.store import Store
from mmprod.datasets.vectors import from_column
from mmprod.lake import Lake
from mmprod.report.page import render
from mmprod.report.pairs import pairs_page
from mmprod.stages.daily.embed import open_embeddings
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.encoder import load_encoder
from mmprod.stages.store import open_store
from mmprod.stages.training.pairs import Selected, agreement_of, select_pairs
from mmprod.storage.errors import StateError

SETTINGS = """
lake = "lake"
[table]
category = ["category_l1", "category_l3"]
[table.columns]
product_id = "sku"
[pairs.quality]
max_shared = 5
"""
FINDS = {  # reasons that a kind of rubbish may be found by
    "blank": {"blank", "nearly_blank"},
    "tiny": {"too_small"},
    "placeholder": {"placeholder"},
    "collage": {"collage"},
    "frame": {"frame"},
    "writing": {"writing"},
    "stuffed": {"title_stuffed"},
    "repeated": {"title_repeats", "title_short"},
    "short": {"title_short"},
}

UNUSABLE = {"blind": "no_picture", "mute": "no_title", "torn": "undecodable"}


@pytest.fixture(scope="module")
def rubbish(grown) -> list[dict[str, Any]]:
    """Rendered products with honest titles; two in five of them spoiled, by `planted`."""
    with on_path(Path(__file__).parents[2] / "benchmarks"):
        plant = importlib.import_module("fashion.rubbish").plant
    rows = pq.read_table(grown.folder / "catalogue" / "train.parquet").to_pylist()
    good = [honest(row) for row in rows]
    torn = {"image": good[0]["image"][:400]}
    columns = {"no_picture": {"image": None}, "no_title": {"title": None}, "undecodable": torn}
    unusable = [{**good[0], **columns[reason], "sku": name} for name, reason in UNUSABLE.items()]
    return plant(good, 0.4, seed=0) + [{**row, "planted": "unusable"} for row in unusable]


@contextmanager
def on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


def honest(row: dict[str, Any]) -> dict[str, Any]:
    said = dict(row["attributes"])
    words = [said["style"], said["colour"], said["pattern"], said["type"]]
    levels = {"category_l1": row["category"][0], "category_l3": row["category"][-1]}
    return {"sku": row["product_id"], "title": " ".join(words), "image": row["image"], **levels}


@pytest.fixture(scope="module")
def shop(rubbish, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Config]:
    folder = tmp_path_factory.mktemp("pairs")
    pq.write_table(pa.Table.from_pylist(rubbish), folder / "products.parquet")
    (folder / "mmprod.toml").write_text(SETTINGS)
    config = load(folder / "mmprod.toml").config
    lake = Lake(config.lake)
    with open_store(lake, config, read_only=False) as store:
        ingest_table(lake, config, store, folder / "products.parquet", date(2024, 1, 1))
    return lake, config


@pytest.fixture(scope="module")
def selected(shop) -> Selected:
    lake, config = shop
    with open_store(lake, config) as store:
        return select_pairs(lake, config, store)


def why(selected: Selected) -> dict[str, str]:
    return dict(zip(*(selected.rejected[name].to_pylist() for name in ("product_id", "reason")), strict=True))


def test_planted_rubbish_is_found_and_good_products_stay(rubbish, selected: Selected) -> None:
    found, reasons = defaultdict(Counter), why(selected)
    for row in rubbish:
        found[row["planted"]][reasons.get(row["sku"])] += 1
    for kind, wanted in FINDS.items():
        total = found[kind].total()
        assert total >= 3, "nothing to find; plant more"
        recall = sum(found[kind][reason] for reason in wanted) / total
        assert recall >= 0.8, f"{kind}: {dict(found[kind])}"
    good = found[None]
    assert 1 - good[None] / good.total() <= 0.02, dict(good)


def test_every_live_product_is_kept_or_rejected_once(rubbish, selected: Selected) -> None:
    assert selected.pairs.schema == PAIR
    assert selected.rejected.schema == REJECTED
    names = [*selected.pairs["product_id"].to_pylist(), *selected.rejected["product_id"].to_pylist()]
    assert sorted(names) == sorted(row["sku"] for row in rubbish)
    assert selected.considered == len(rubbish)
    assert sum(selected.reasons.values()) == len(selected.rejected)
    assert sum(selected.splits.values()) == len(selected.pairs)


def test_the_same_store_gives_the_same_pairs_in_several_processes(shop, selected, monkeypatch) -> None:
    lake, config = shop
    seen: list[int] = []

    def progress(stage: str, total: int | None) -> Any:
        seen.append(-(total or 0))
        return seen.append

    monkeypatch.setattr(quality, "_FEW", 0)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    with open_store(lake, config) as store:
        again = select_pairs(lake, config, store, progress)
    assert again.pairs.equals(selected.pairs)
    assert again.rejected.equals(selected.rejected)
    assert sum(seen) == 0


def test_a_given_agreement_rejects_what_is_below_the_bound(shop, selected: Selected) -> None:
    lake, config = shop
    config = load(None, {"lake": str(lake.root), "pairs.quality.min_agreement": 0.3}).config
    names = selected.pairs["product_id"].to_pylist()
    with open_store(lake, config) as store:
        agreement = {names[0]: 0.29, names[1]: 0.3}
        found = why(select_pairs(lake, config, store, agreement=agreement))
    assert found[names[0]] == "disagreement"
    assert names[1] not in found


def test_agreement_is_the_share_of_other_titles_that_fit_less_well(grown) -> None:
    """There are fewer than 256 titles, so all of them are compared."""
    lake, config = grown.lake, grown.config
    found = agreement_of(lake, config)
    batch = pa.Table.from_batches(
        open_embeddings(lake, config, load_encoder(lake, config)).batches()
    ).combine_chunks()
    (image, has_image), (text, has_text) = (
        from_column(batch[name].combine_chunks()) for name in ("image", "text")
    )
    both = has_image & has_text
    assert set(found) == set(np.array(batch["product_id"].to_pylist())[both].tolist())
    scores = image.astype(np.float32) @ text[has_text].astype(np.float32).T
    own = (image.astype(np.float32) * text.astype(np.float32)).sum(axis=1)
    for row in np.flatnonzero(both)[::7]:
        expected = (scores[row] < own[row]).mean()
        assert found[batch["product_id"][int(row)].as_py()] == pytest.approx(expected, abs=0.02)


def test_agreement_without_vectors_is_refused(world) -> None:
    config = load(world.folder / "mmprod.toml", {"pairs.quality.min_agreement": 0.1}).config
    with pytest.raises(StateError, match="run `mmprod embed`"):
        agreement_of(world.lake, config)


def test_what_makes_no_pair_at_all_is_told_apart(selected: Selected) -> None:
    assert {name: reason for name, reason in why(selected).items() if name in UNUSABLE} == UNUSABLE


def test_the_report_shows_every_reason_with_examples(shop, selected: Selected) -> None:
    lake, config = shop
    with Store.open(lake.store, read_only=True) as store:
        page = pairs_page(store, config, selected)
    strips = {strip.heading.split(":")[0]: strip for strip in page.parts[1].strips}
    assert strips.keys() == selected.reasons.keys()
    for reason, count in selected.reasons.items():
        assert len(strips[reason].cards) == min(12, count)
    mild_to_worst = [float(card.note) for card in strips["too_small"].cards]
    assert mild_to_worst == sorted(mild_to_worst, reverse=True)
    html = render(page)
    assert "data:image/jpeg;base64," in html
    assert "min_side = 32" in html


def test_the_command_writes_tables_and_page(shop, selected: Selected, tmp_path: Path, monkeypatch) -> None:
    lake, _ = shop
    monkeypatch.chdir(lake.root.parent)
    pairs, rejected, page = (tmp_path / name for name in ("pairs.parquet", "rejected.parquet", "pairs.html"))
    words = ["pairs", "--out", str(pairs), "--rejected", str(rejected), "--report", str(page), "--json"]
    monkeypatch.setattr(sys, "argv", ["mmprod", *words])
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["considered"] == told["train"] + told["held_out"] + sum(told["rejected"].values())
    assert pq.read_table(pairs).equals(selected.pairs)
    assert pq.read_table(rejected).num_rows == len(selected.rejected)
    assert page.stat().st_size > 10_000
    stricter = CliRunner().invoke(app, ["pairs", "--min-side", "100000", "--json"])
    assert json.loads(stricter.stdout)["train"] == 0
