"""Searches by several texts and pictures, wanted and not, near copies as one, and from a score on."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from mmprod.cli.app import app
from mmprod.datasets.images.images import MAX_PIXELS
from mmprod.datasets.schemas import GROUP
from mmprod.stages.encoder import load_encoder
from mmprod.stages.open_index import open_index
from mmprod.stages.search.query import LESS, Query
from mmprod.stages.search.search import Wish, search_vector
from mmprod.stages.store import open_store
from mmprod.storage.errors import InputError


@pytest.fixture(scope="module")
def encoder(grown):
    return load_encoder(grown.lake, grown.config)


@pytest.fixture
def photo(grown, tmp_path: Path) -> tuple[Path, str]:
    """A product's picture as a file, and the product."""
    with open_store(grown.lake, grown.config) as store:
        product = next(record for record in store.iterate() if any(record.image_hash))
        data = store.picture(product.image_hash)
    path = tmp_path / "photo.jpg"
    path.write_bytes(data or b"")
    return path, product.product_id


def test_texts_and_pictures_are_added_and_subtracted_as_documented(encoder, photo) -> None:
    path, _ = photo
    query = Query(["red mug", "striped"], [path], ["blue vase"])
    found = query.vector(encoder, MAX_PIXELS)
    from PIL import Image

    texts = encoder.titles(["red mug", "striped"])
    picture = encoder.pictures([Image.open(path).convert("RGB")])
    wanted = np.concatenate([texts, picture]).mean(axis=0) - LESS * encoder.titles(["blue vase"])[0]
    np.testing.assert_allclose(found[0], wanted / np.linalg.norm(wanted), atol=1e-5)
    assert str(query) == f"red mug + striped + {path} - blue vase"
    assert query.towers == ("text", "image")


def test_a_single_text_is_its_own_vector(encoder) -> None:
    np.testing.assert_array_equal(Query(["red mug"]).vector(encoder, MAX_PIXELS), encoder.titles(["red mug"]))


def test_queries_that_say_nothing(encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"<html>")
    for query, told in [
        (Query(), "empty"),
        (Query(["red", " "]), "empty"),
        (Query(without_texts=["red"]), "empty"),
        (Query(pictures=[tmp_path / "none.jpg"]), "no such picture"),
        (Query(pictures=[broken]), "html"),
    ]:
        with pytest.raises(InputError, match=told):
            query.vector(encoder, MAX_PIXELS)
    monkeypatch.setattr("mmprod.stages.search.query.LESS", 1.0)
    with pytest.raises(InputError, match="cancel each other"):
        Query(["red"], without_texts=["red"]).vector(encoder, MAX_PIXELS)


def search(grown, vector: np.ndarray, wish: Wish, encoder) -> list:
    with open_store(grown.lake, grown.config) as store, open_index(grown.lake, "selection") as generation:
        return search_vector(generation, store, vector, encoder.fingerprint, wish)


def test_a_product_is_found_by_its_picture(grown, encoder, photo) -> None:
    path, product = photo
    found = search(grown, Query(pictures=[path]).vector(encoder, MAX_PIXELS), Wish(100), encoder)
    assert {hit.product_id: hit.score for hit in found}[product] == pytest.approx(1, abs=1e-3)
    assert found[0].score == pytest.approx(1, abs=1e-3)


def test_near_copies_are_one_hit_with_the_number_of_the_others(grown, encoder) -> None:
    vector = Query(["red mug"]).vector(encoder, MAX_PIXELS)
    plain = search(grown, vector, Wish(60), encoder)
    ids = [hit.product_id for hit in plain]
    groups = pa.table({"product_id": ids[:9:2], "group_id": ["g"] * 5}, schema=GROUP)
    folded = search(grown, vector, Wish(10, groups=groups), encoder)
    assert [hit.rank for hit in folded] == list(range(1, 11))
    assert folded[0].product_id == ids[0]
    assert folded[0].more >= 4
    assert not set(ids[2:9:2]) & {hit.product_id for hit in folded}
    with open_store(grown.lake, grown.config) as store:
        records = store.get_many([hit.product_id for hit in folded])
    pictures = [record.image_hash for record in records if record]
    assert len(set(pictures)) == len(pictures)
    hits_and_copies = len(folded) + sum(hit.more for hit in folded)
    assert hits_and_copies > 10


def test_only_from_a_score_on_by_category(grown, encoder) -> None:
    vector = Query(["lamp"]).vector(encoder, MAX_PIXELS)
    plain = search(grown, vector, Wish(40), encoder)
    middle = plain[19].score
    assert [hit.product_id for hit in search(grown, vector, Wish(40, least=middle), encoder)] == [
        hit.product_id for hit in plain if hit.score >= middle
    ]
    top = plain[0].category.split(" > ")[0]
    least = {"all": 2.0, top: middle, f"{top} > nothing": 3.0}
    found = search(grown, vector, Wish(40, least=least), encoder)
    assert [hit.product_id for hit in found] == [
        hit.product_id for hit in plain if hit.category.split(" > ")[0] == top and hit.score >= middle
    ]


def test_by_the_command(grown, photo, monkeypatch: pytest.MonkeyPatch) -> None:
    path, product = photo
    monkeypatch.chdir(grown.folder)

    def told(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["search", *words])
        return result.exit_code, result.output

    code, out = told("mug", "--without", "red", "--top", "5", "--json", "--no-fold")
    assert code == 0 and len(json.loads(out)["results"]) == 5
    code, out = told("--picture", str(path), "--min-score", "0.99", "--top", "100", "--json", "--no-fold")
    assert product in [hit["product_id"] for hit in json.loads(out)["results"]]
    assert told("mug", "--min-score", "much")[0] == 2
    code, out = told("mug", "--min-score", "labels")
    assert (code, "no labels of profile selection" in out) == (2, True), out
    assert told("--without", "red")[0] == 2
    assert told("mug", "--product", product)[0] == 2
