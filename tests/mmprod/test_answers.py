"""Search and recall of a real lake against brute force over its embedding table."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
from openpyxl import load_workbook

from mmprod.datasets.vectors import from_column
from mmprod.encoders.clip import Encoder
from mmprod.stages.daily.embed import open_embeddings
from mmprod.stages.daily.recall import read_recall
from mmprod.stages.encoder import load_encoder
from mmprod.stages.search.lists import write_list
from mmprod.stages.search.search import Found, as_table, search_product, search_text
from mmprod.stages.store import open_store
from mmprod.storage.errors import InputError, StateError


@pytest.fixture(scope="module")
def encoder(grown) -> Encoder:
    return load_encoder(grown.lake, grown.config)


@pytest.fixture(scope="module")
def vectors(grown, encoder) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, image and text vectors of all live products; zeros where there is none."""
    table = open_embeddings(grown.lake, grown.config, encoder)
    batches = list(table.batches())
    ids = [name for batch in batches for name in batch["product_id"].to_pylist()]
    image, text = (
        np.concatenate([from_column(batch[name])[0] for batch in batches]).astype(np.float64)
        for name in ("image", "text")
    )
    return ids, image, text


@pytest.mark.parametrize("profile", ["same_item", "similar_item", "selection"])
def test_text_search_is_brute_force(grown, encoder, vectors, profile: str) -> None:
    ids, image, text = vectors
    weights = grown.config.profile(profile)
    query = encoder.titles(["red striped mug"])[0]
    want = dict(zip(ids, weights.image * image @ query + weights.text * text @ query, strict=True))
    with open_store(grown.lake, grown.config) as store:
        found = search_text(grown.lake, store, encoder, "Red  striped mug", profile, 20)
    assert [f.rank for f in found] == list(range(1, 21))
    best = sorted(want.values(), reverse=True)[:20]
    np.testing.assert_allclose([f.score for f in found], best, atol=1e-3)
    np.testing.assert_allclose([f.score for f in found], [want[f.product_id] for f in found], atol=1e-3)


@pytest.mark.parametrize("profile", ["same_item", "similar_item"])
def test_the_recall_table_is_brute_force(grown, vectors, profile: str) -> None:
    ids, image, text = vectors
    weights = grown.config.profile(profile)
    scores = weights.image * image @ image.T + weights.text * text @ text.T
    np.fill_diagonal(scores, -np.inf)
    row_of = {name: row for row, name in enumerate(ids)}
    table = read_recall(grown.lake, profile).to_pylist()
    assert len(table) == len(ids) * grown.config.recall.k
    for line in table:
        a, b = row_of[line["anchor_id"]], row_of[line["product_id"]]
        assert line["score"] == pytest.approx(scores[a, b], abs=1e-3)
        assert line["score"] == pytest.approx(np.sort(scores[a])[-line["rank"]], abs=1e-3)
        known = [(weights.image, line["image_score"]), (weights.text, line["text_score"])]
        assert line["score"] == pytest.approx(sum(w * s for w, s in known if s is not None), abs=1e-3)


def test_a_product_s_neighbours_leave_itself_out(grown, vectors) -> None:
    ids, image, text = vectors
    with open_store(grown.lake, grown.config) as store:
        found = search_product(grown.lake, store, ids[3], "same_item", 5)
    scores = 0.5 * image @ image[3] + 0.5 * text @ text[3]
    scores[3] = -1
    np.testing.assert_allclose([f.score for f in found], np.sort(scores)[::-1][:5], atol=1e-3)
    assert ids[3] not in {f.product_id for f in found}


def test_a_category_holds_its_answers(grown, encoder) -> None:
    with open_store(grown.lake, grown.config) as store:
        found = search_text(grown.lake, store, encoder, "lamp", "selection", 10, "Home > Lighting")
        assert found
        assert all(f.category.startswith("Home > Lighting") for f in found)
        with pytest.raises(InputError, match="did you mean 'Home > Lighting'"):
            search_text(grown.lake, store, encoder, "lamp", "selection", 10, "Home > Lightning")


@pytest.mark.parametrize("text", ["", "  ", "\u200b\x00"])
def test_an_empty_query_is_refused(grown, encoder, text: str) -> None:
    with open_store(grown.lake, grown.config) as store, pytest.raises(InputError, match="empty"):
        search_text(grown.lake, store, encoder, text, "selection", 5)


def test_another_encoder_s_query_is_refused_with_both_fingerprints(grown, encoder) -> None:
    from dataclasses import replace

    other = replace(encoder, fingerprint="f" * 64)
    with open_store(grown.lake, grown.config) as store, pytest.raises(StateError, match="f" * 64) as caught:
        search_text(grown.lake, store, other, "lamp", "selection", 5)
    assert encoder.fingerprint in str(caught.value)


def test_an_unknown_product_is_named(grown) -> None:
    with open_store(grown.lake, grown.config) as store, pytest.raises(InputError, match="'nobody'"):
        search_product(grown.lake, store, "nobody", "same_item", 5)


def test_a_list_is_taken_away_whole_and_harmless(tmp_path) -> None:
    found = [
        Found(1, "0012345", 0.5, None, 0.25, "=cmd|'/C calc'!A0", "Home"),
        Found(2, "A2", -0.25, 0.5, None, "灯, “red”", ""),
    ]
    write_list(as_table(found), tmp_path / "list.csv")
    rows = list(csv.DictReader((tmp_path / "list.csv").read_text("utf-8-sig").splitlines()))
    assert [row["product_id"] for row in rows] == ["0012345", "A2"]
    assert rows[0]["title"] == "'=cmd|'/C calc'!A0"
    assert rows[1]["title"] == "灯, “red”"
    assert float(rows[1]["score"]) == -0.25
    write_list(as_table(found), tmp_path / "list.parquet")
    assert pq.read_table(tmp_path / "list.parquet").to_pylist()[0]["title"] == "=cmd|'/C calc'!A0"
    write_list(as_table(found), tmp_path / "list.xlsx")
    sheet = load_workbook(tmp_path / "list.xlsx").active
    _, first, second = sheet.iter_rows()
    assert [cell.value for cell in first][1:3] == ["0012345", 0.5]
    assert (first[5].value, first[5].data_type, first[5].quotePrefix) == ("=cmd|'/C calc'!A0", "s", True)
    assert [cell.value for cell in second][5:] == ["灯, “red”", None, None, 0]
    with pytest.raises(InputError, match=r"\.csv"):
        write_list(as_table(found), tmp_path / "list.doc")
