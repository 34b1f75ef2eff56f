"""Captions, re-ranking and pair similarity on a store, with a random BLIP."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmprod.cli.app import app
from mmprod.config import Config, load
from mmprod.datasets.schemas import category_path
from mmprod.datasets.store.store import Store
from mmprod.encoders.blip.match import match_probabilities
from mmprod.encoders.blip.model import save_blip
from mmprod.encoders.blip.tiny import tiny_blip
from mmprod.encoders.clip import Encoder
from mmprod.stages.encoder import load_encoder
from mmprod.stages.search.rerank import picture_of, rerank
from mmprod.stages.search.search import Found
from mmprod.stages.search.similarity import similarity
from mmprod.stages.store import open_store
from mmprod.stages.training.caption import (
    CAPTION,
    caption_products,
    choose,
    prompt_for,
    write_captions,
)
from mmprod.storage.errors import InputError


@pytest.fixture(scope="module")
def store(grown: Any) -> Any:
    with open_store(grown.lake, grown.config) as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    titles = [record.title for record in store.iterate()]
    path = tmp_path_factory.mktemp("blip")
    save_blip(*tiny_blip(titles), path)
    return path


@pytest.fixture(scope="module")
def config(grown: Any, folder: Path) -> Config:
    keys = {"encoder.model": f"local-dir:{folder}", "caption.max_tokens": 5, "caption.batch": 3}
    return load(grown.folder / "mmprod.toml", keys).config


@pytest.fixture(scope="module")
def encoder(grown: Any, config: Config) -> Encoder:
    return load_encoder(grown.lake, config)


def found_of(store: Store) -> list[Found]:
    records = enumerate(list(store.iterate())[:8], start=1)
    return [Found(i, r.product_id, 1 - i / 10, None, None, r.title, "") for i, r in records]


def test_every_product_has_a_caption_or_a_reason(store: Store, config: Config, encoder: Encoder) -> None:
    products = choose(store)
    told: list[int] = []
    made = list(caption_products(config, store, encoder, products, "red", told.append))
    assert [c.product_id for c in made] == [r.product_id for r in products]
    assert sum(told) == len(products)
    without = {c.product_id for c in made if c.caption is None}
    assert without == {r.product_id for r in products if picture_of(config, store, r) is None}
    for one in made:
        assert (one.caption is None) == (one.log_probability is None) == (one.reason is not None)
        assert one.caption is None or one.caption.startswith("red")


def test_an_undecodable_picture_stops_nothing(store: Store, config: Config, encoder: Encoder) -> None:
    products = [record for record in choose(store) if picture_of(config, store, record)][:4]
    tight = config.model_copy(update={"images": config.images.model_copy(update={"max_pixels": 1})})
    assert {c.reason for c in caption_products(tight, store, encoder, products)} == {"too_many_pixels"}
    products[1] = replace(products[1], image_hash=b"x" * 16, image_reason="html")
    made = list(caption_products(config, store, encoder, products))
    assert [c.reason for c in made] == [None, "html", None, None]


def test_batches_and_prompts_change_no_caption(store: Store, config: Config, encoder: Encoder) -> None:
    """Beam search: each product as if alone, whatever its neighbours' prompts."""
    products = choose(store, limit=9)
    prompts = {category_path(products[0].category[:1]): "a red", category_path(products[-1].category): "one"}
    section = config.caption.model_copy(update={"prompts": prompts})
    config = config.model_copy(update={"caption": section})
    together = list(caption_products(config, store, encoder, products))
    alone = [one for record in products for one in caption_products(config, store, encoder, [record])]
    assert [(c.caption, c.prompt) for c in together] == [(c.caption, c.prompt) for c in alone]
    assert len({c.prompt for c in together}) > 1


def test_the_narrowest_prompt_counts(config: Config) -> None:
    prompts = {"Home": "a thing", "Home > Lighting": "a lamp"}
    section = config.caption.model_copy(update={"prompt": "a photo of", "prompts": prompts})
    assert prompt_for(section, ("Home", "Lighting", "Desk")) == "a lamp"
    assert prompt_for(section, ("Home", "Rugs")) == "a thing"
    assert prompt_for(section, ("Homeware",)) == "a photo of"
    assert prompt_for(section, ()) == "a photo of"


def test_products_are_chosen_by_id_category_and_number(store: Store) -> None:
    records = list(store.iterate())
    ids = [records[4].product_id, records[1].product_id]
    assert [r.product_id for r in choose(store, ids)] == ids
    top = records[0].category[0]
    assert {r.product_id for r in choose(store, category=top)} == {
        r.product_id for r in records if r.category[:1] == (top,)
    }
    assert len(choose(store, limit=3)) == 3
    with pytest.raises(InputError, match="'nobody'"):
        choose(store, ["nobody"])
    with pytest.raises(InputError, match="'Nowhere'"):
        choose(store, category="Nowhere")


def test_files_hold_every_caption(store: Store, config: Config, encoder: Encoder, tmp_path: Path) -> None:
    made = list(caption_products(config, store, encoder, choose(store, limit=4)))
    for name in ("captions.json", "captions.parquet"):
        write_captions(made, tmp_path / name)
    rows = json.loads((tmp_path / "captions.json").read_text("utf-8"))
    assert [row["caption"] for row in rows] == [c.caption for c in made]
    table = pq.read_table(tmp_path / "captions.parquet")
    assert table.schema.equals(CAPTION)
    assert table["caption"].to_pylist() == [c.caption for c in made]
    with pytest.raises(InputError, match=r"\.json or \.parquet"):
        write_captions(made, tmp_path / "captions.txt")


def test_an_encoder_that_can_t_caption_is_refused(grown: Any, store: Store) -> None:
    with pytest.raises(InputError, match="a CLIP can't write captions"):
        list(caption_products(grown.config, store, load_encoder(grown.lake, grown.config), choose(store)))


def test_the_first_are_ordered_by_matching(store: Store, config: Config, encoder: Encoder) -> None:
    found = found_of(store)
    again = rerank(config, store, encoder, "Red mug", found, 5)
    assert [f.rank for f in again] == list(range(1, 9))
    assert [f.product_id for f in again[5:]] == [f.product_id for f in found[5:]]
    assert {f.product_id for f in again[:5]} == {f.product_id for f in found[:5]}
    scores = [f.match_score for f in again[:5] if f.match_score is not None]
    assert scores == sorted(scores, reverse=True)
    assert all(f.match_score is None for f in again[5:])
    for product in again[: len(scores)]:
        record = store.get(product.product_id)
        assert record
        picture = picture_of(config, store, record)
        assert picture
        alone = match_probabilities(encoder, [picture], ["Red mug"])[0]
        assert product.match_score == pytest.approx(alone, abs=1e-5)


def test_a_product_without_picture_comes_after_those_that_have_one(
    store: Store, config: Config, encoder: Encoder
) -> None:
    found = found_of(store)
    found[0] = replace(found[0], product_id="gone")
    again = rerank(config, store, encoder, "red mug", found, 4)
    assert again[3].product_id == "gone"
    assert again[3].match_score is None
    with pytest.raises(InputError, match="no text"):
        rerank(config, store, encoder, " ", found, 4)


def test_a_clip_can_t_rerank(grown: Any, store: Store) -> None:
    with pytest.raises(InputError, match="only a BLIP"):
        rerank(grown.config, store, load_encoder(grown.lake, grown.config), "lamp", found_of(store), 3)


def test_two_products_are_compared_as_an_index_does(
    grown: Any, store: Store, config: Config, encoder: Encoder
) -> None:
    a, b = [r for r in store.iterate() if r.title and picture_of(config, store, r)][:2]
    found = similarity(config, store, encoder, a.product_id, b.product_id)
    pictures = [picture_of(config, store, record) for record in (a, b)]
    image = encoder.pictures([p for p in pictures if p])
    text = encoder.titles([a.title, b.title])
    assert found.image == pytest.approx(float(image[0] @ image[1]), abs=1e-6)
    assert found.text == pytest.approx(float(text[0] @ text[1]), abs=1e-6)
    for name, profile in config.profiles.items():
        fused = profile.image * found.image + profile.text * found.text
        assert found.profiles[name] == pytest.approx(fused, abs=1e-5)
    want = match_probabilities(encoder, [pictures[1], pictures[0]], [a.title, b.title])  # type: ignore[list-item]
    assert [found.match_ab, found.match_ba] == pytest.approx(want.tolist(), abs=1e-5)
    turned = similarity(config, store, encoder, b.product_id, a.product_id)
    assert (turned.match_ab, turned.match_ba) == pytest.approx((found.match_ba, found.match_ab), abs=1e-5)

    tiny = load_encoder(grown.lake, grown.config)
    plain = similarity(grown.config, store, tiny, a.product_id, b.product_id)
    assert plain.match_ab is None
    assert plain.match_ba is None
    with pytest.raises(InputError, match="'nobody'"):
        similarity(config, store, encoder, a.product_id, "nobody")


def test_a_missing_half_counts_nothing(store: Store, config: Config, encoder: Encoder) -> None:
    a, b = [record.product_id for record in store.iterate() if record.title][:2]
    tight = config.model_copy(update={"images": config.images.model_copy(update={"max_pixels": 1})})
    found = similarity(tight, store, encoder, a, b)
    assert found.image is None
    assert found.match_ab is None
    assert found.profiles["same_item"] == pytest.approx(0.5 * (found.text or np.nan), abs=1e-6)
    assert found.profiles["selection"] == 0


def test_the_commands(grown: Any, folder: Path, store: Store, tmp_path: Path) -> None:
    ids = [record.product_id for record in store.iterate()][:2]
    shutil.copytree(grown.folder, tmp_path / "world")
    base = ["--config", str(tmp_path / "world" / "mmprod.toml")]
    run = CliRunner().invoke
    words = ["caption", "--encoder", f"local-dir:{folder}", "--product", ids[0], "--product", ids[1], *base]
    done = run(app, [*words, "--prompt", "red", "--beams", "2", "--json"])
    assert done.exit_code == 0, done.output
    assert [c["product_id"] for c in json.loads(done.stdout)["captions"]] == ids
    done = run(app, [*words, "--method", "nucleus", "--max-tokens", "4", "--out", str(tmp_path / "c.json")])
    assert done.exit_code == 0, done.output
    assert len(json.loads((tmp_path / "c.json").read_text())) == 2
    for wrong in (["--beams", "0"], ["--out", "c.txt"], ["--method", "guess"], ["--max-tokens", "1"]):
        assert run(app, [*words, *wrong]).exit_code == 2, wrong
    assert run(app, ["caption", "--limit", "1", *base]).exit_code == 2  # the configured encoder is a CLIP
    done = run(app, ["similarity", *ids, *base, "--json"])
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)["profiles"]) == set(grown.config.profiles)
    assert run(app, ["search", "lamp", "--rerank", "5", *base]).exit_code == 2
