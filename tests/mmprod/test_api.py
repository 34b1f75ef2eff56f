"""What scripts and notebooks ask a lake through `mmprod.open`: the same answers as the stages give."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import mmprod
from mmprod.api import OpenLake
from mmprod.datasets.schemas import RECALL
from mmprod.notebook import Rows
from mmprod.stages.daily.embed import read_embeddings
from mmprod.stages.daily.recall import read_recall
from mmprod.stages.encoder import load_encoder
from mmprod.stages.search.search import search_product, search_text
from mmprod.stages.store import open_store
from mmprod.storage.errors import InputError, StateError


@pytest.fixture(scope="module")
def lake(grown):
    with mmprod.open(config=grown.folder / "mmprod.toml") as opened:
        yield opened


@pytest.fixture(scope="module")
def ids(grown) -> list[str]:
    with open_store(grown.lake, grown.config) as store:
        return list(store.live_ids())


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, mmprod; print([n for n in ('numpy', 'pyarrow', 'torch', 'typer') if n in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_text_finds_what_search_finds(lake: OpenLake, grown) -> None:
    encoder = load_encoder(grown.lake, grown.config)
    with open_store(grown.lake, grown.config) as store:
        wanted = search_text(grown.lake, store, encoder, "red mug", "selection", 5)
    found = lake.search("red mug", top=5, fold=False)
    assert found["product_id"].to_pylist() == [hit.product_id for hit in wanted]
    assert np.allclose(found["score"], [hit.score for hit in wanted], atol=1e-5)
    assert found[0]["rank"] == 1 and len(found) == 5


def test_a_picture_finds_its_own_product_and_what_is_not_wanted_goes(
    lake: OpenLake, ids: list[str], tmp_path: Path
) -> None:
    product = next(row for row in lake.products(ids) if row["picture"])
    path = tmp_path / "photo"
    path.write_bytes(product["picture"])
    assert lake.search(image=path, fold=False)[0]["score"] == pytest.approx(1, abs=1e-3)
    with pytest.raises(InputError, match="empty"):
        lake.search(without="red")


def test_neighbours_are_those_of_the_stage(lake: OpenLake, grown, ids: list[str]) -> None:
    with open_store(grown.lake, grown.config) as store:
        wanted = search_product(grown.lake, store, ids[3], "same_item", 4)
    found = lake.neighbours(ids[3], top=4, fold=False)
    assert found["product_id"].to_pylist() == [hit.product_id for hit in wanted]
    with pytest.raises(InputError, match="nobody"):
        lake.neighbours("nobody")
    with pytest.raises(InputError, match="profile"):
        lake.neighbours(ids[3], profile="none")


def test_a_product_is_like_itself_and_vectors_tell_the_same_similarity(
    lake: OpenLake, ids: list[str]
) -> None:
    rows = lake.vectors(ids[:20]).to_pylist()
    a, b = [row for row in rows if row["image"] and row["text"]][:2]
    found = lake.similarity(a["product_id"], b["product_id"])
    for name, value in (("image", found.image), ("text", found.text)):
        assert value == pytest.approx(float(np.dot(a[name], b[name])), abs=2e-3)
    assert lake.similarity(a["product_id"], a["product_id"]).profiles["same_item"] == pytest.approx(
        1, abs=1e-3
    )


def test_vectors_come_in_the_order_asked_for_without_what_is_unknown(
    lake: OpenLake, ids: list[str], grown
) -> None:
    table = lake.vectors([ids[2], "no'body", ids[0], ids[2]])
    assert table["product_id"].to_pylist() == [ids[2], ids[0]]
    known = read_embeddings(grown.lake, grown.config).lookup([ids[2]])[ids[2]]
    assert table["text"][0].as_py() == (None if known.text is None else known.text.tolist())


def test_recall_is_the_table_or_the_part_of_it_asked_for(lake: OpenLake, grown, ids: list[str]) -> None:
    table = lake.recall("same_item")
    assert table.schema == RECALL
    assert table.equals(read_recall(grown.lake, "same_item").cast(RECALL))
    some = lake.recall("same_item", ids[:2])
    assert set(some["anchor_id"].to_pylist()) == set(ids[:2])
    assert some.num_rows == sum(anchor in ids[:2] for anchor in table["anchor_id"].to_pylist())


def test_products_tell_what_the_store_knows(lake: OpenLake, ids: list[str]) -> None:
    rows = lake.products([ids[1], "nobody", ids[0]])
    assert rows["product_id"].to_pylist() == [ids[1], ids[0]]
    assert all(row["title"] and row["live"] for row in rows)
    assert list(rows.to_pandas()["product_id"]) == [ids[1], ids[0]]


def test_a_notebook_shows_pictures(lake: OpenLake, ids: list[str]) -> None:
    html = lake.search("red mug", top=3)._repr_html_()
    assert html.count("data:image/jpeg;base64,") == 3
    plain = Rows(pa.table({"product_id": ["<b>"], "score": [0.5]}))._repr_html_()
    assert "&lt;b&gt;" in plain and "<b>" not in plain


def test_without_evaluations_there_are_no_figures(lake: OpenLake) -> None:
    assert len(lake.evaluations()) == 0


def test_the_next_question_goes_over_to_a_new_generation(world, forked_day) -> None:
    world.run(1)
    with mmprod.open(config=world.folder / "mmprod.toml") as lake:
        before = lake.search("red mug", top=50, fold=False)
        forked_day(world.folder, 2)  # by another process, as at night
        after = lake.search("red mug", top=50, fold=False)
        assert set(after["product_id"].to_pylist()) != set(before["product_id"].to_pylist())
        encoder = load_encoder(world.lake, world.config)
        with open_store(world.lake, world.config) as store:
            wanted = search_text(world.lake, store, encoder, "red mug", "selection", 50)
        assert after["product_id"].to_pylist() == [hit.product_id for hit in wanted]


def test_a_lake_without_an_index_says_what_to_run(tmp_path: Path) -> None:
    with mmprod.open(tmp_path / "lake") as lake, pytest.raises(StateError, match="ingest a day first"):
        lake.search("red mug")
