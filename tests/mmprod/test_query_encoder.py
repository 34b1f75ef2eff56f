"""Questions are answered by the exported engine as by torch, and by torch where the engine can't."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmprod.config import load
from mmprod.encoders.blip.model import save_blip
from mmprod.encoders.blip.tiny import tiny_blip
from mmprod.encoders.clip import Encoder
from mmprod.encoders.export.encoder import ExportedEncoder
from mmprod.retrieval.fusion import fuse_query
from mmprod.stages.encoder import ENGINE, load_encoder, load_query_encoder
from mmprod.stages.open_index import encoder_of, open_index
from mmprod.stages.search.similarity import load_comparing_encoder, similarity
from mmprod.stages.store import open_store
from mmprod.stages.training.export import export_engine
from mmprod.storage import artifacts


@pytest.fixture(scope="module")
def exported(grown) -> Any:
    """A world after its first day, with an engine."""
    export_engine(grown.lake, grown.config, "onnx", "fp32", ("image", "text"))
    return grown


@pytest.fixture
def world(exported, tmp_path: Path) -> Any:
    """The same, of the test's own."""
    shutil.copytree(exported.folder, tmp_path / "world")
    return type(exported)(tmp_path / "world")


def engines(world: Any) -> Path:
    root: Path = world.lake.engines("lake:tiny", encoder_of(world.lake, "selection"), ENGINE)
    return root


def asked(world: Any) -> Any:
    return load_query_encoder(world.lake, world.config, encoder_of(world.lake, "selection"))


@pytest.mark.parametrize("profile", ["selection", "same_item"])
def test_the_engine_finds_what_torch_finds(exported, profile: str) -> None:
    engine, torch = asked(exported), load_encoder(exported.lake, exported.config)
    assert isinstance(engine, ExportedEncoder) and engine.fingerprint == torch.fingerprint
    with open_store(exported.lake, exported.config) as store:
        texts = ["red striped mug", "极简风客厅灯", *(record.title for record in store.iterate())]
    with open_index(exported.lake, profile) as generation:
        mine, wanted = (
            generation.search(
                fuse_query(encoder.titles(texts), generation.build.weights, generation.build.dim),
                20,
                encoder=encoder.fingerprint,
            )
            for encoder in (engine, torch)
        )
    assert np.mean(mine.rows == wanted.rows) >= 0.99 and mine.rows.size >= 1000
    np.testing.assert_allclose(mine.scores, wanted.scores, rtol=0, atol=1e-3)


def test_two_products_are_as_alike_by_the_engine(exported) -> None:
    engine = load_comparing_encoder(exported.lake, exported.config)
    torch = load_encoder(exported.lake, exported.config)
    assert isinstance(engine, ExportedEncoder)
    with open_store(exported.lake, exported.config) as store:
        a, *others = sorted(store.live_ids())[:8]
        for b in others:
            mine, wanted = (similarity(exported.config, store, e, a, b) for e in (engine, torch))
            assert mine.profiles == pytest.approx(wanted.profiles, abs=1e-3)
            assert (mine.image, mine.text) == pytest.approx((wanted.image, wanted.text), abs=1e-3)


def flipped(root: Path, name: str) -> None:
    path = root / str(artifacts.current(root)) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def flipped_pointer(root: Path) -> None:
    (root / artifacts.CURRENT).write_text("g000001 0000\n")


@pytest.mark.parametrize("damaged", ["text.onnx", "tokenizer.json", "engine.json", artifacts.CURRENT])
def test_a_damaged_engine_is_told_of_and_torch_answers(
    world, caplog: pytest.LogCaptureFixture, damaged: str
) -> None:
    if damaged == artifacts.CURRENT:
        flipped_pointer(engines(world))
    else:
        flipped(engines(world), damaged)
    with caplog.at_level(logging.WARNING):
        encoder = asked(world)
    assert isinstance(encoder, Encoder)
    assert "torch answers instead of the engine" in caplog.text and damaged in caplog.text


def removed(root: Path) -> None:
    shutil.rmtree(root)


def in_half_precision(root: Path) -> None:
    root.rename(root.with_name("onnx-fp16"))


def of_pictures_alone(root: Path) -> None:
    whole = root / str(artifacts.current(root))
    made = artifacts.Manifest.read(whole)
    with artifacts.publishing(root, "engine", made.inputs, made.config | {"towers": ["image"]}) as draft:
        for name in made.files:
            shutil.copy(whole / name, draft.path / name)
    artifacts.switch(root, draft.generation)


@pytest.mark.parametrize("change", [removed, in_half_precision, of_pictures_alone])
def test_without_a_fitting_engine_torch_answers(
    world, caplog: pytest.LogCaptureFixture, change: Callable[[Path], None]
) -> None:
    change(engines(world))
    with caplog.at_level(logging.WARNING):
        assert isinstance(asked(world), Encoder)
    assert not caplog.records


def test_a_blip_of_the_lake_is_compared_by_torch_which_also_matches(
    world, caplog: pytest.LogCaptureFixture
) -> None:
    with open_store(world.lake, world.config) as store:
        titles = [record.title for record in store.iterate()]
        a, b = (record.product_id for record in list(store.iterate())[:2])
    root = world.lake.encoder("blip")
    with artifacts.publishing(root, "encoder", {}, {}) as draft:
        save_blip(*tiny_blip(titles), draft.path)
        draft.counts["fingerprint"] = "f" * 64
    artifacts.switch(root, draft.generation)
    engine = world.lake.engines("lake:blip", "f" * 64, ENGINE)
    engine.mkdir(parents=True)
    flipped_pointer(engine)  # a warning would tell that it was looked at
    config = load(world.folder / "mmprod.toml", {"encoder.model": "lake:blip"}).config
    encoder = load_comparing_encoder(world.lake, config)
    with open_store(world.lake, config) as store:
        assert similarity(config, store, encoder, a, b).match_ab is not None
    assert not caplog.records
