"""Raw titles and pictures: what an engine folder makes of them is what the encoder makes of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from mmprod.datasets.forms import FORMS
from mmprod.datasets.images.geometry import Geometry
from mmprod.datasets.text import normalise_title
from mmprod.encoders.clip import Encoder
from mmprod.encoders.export.build import build
from mmprod.encoders.export.encoder import ExportedEncoder
from mmprod.encoders.export.inputs import Inputs, tokens, with_hard_ones
from mmprod.encoders.export.raw import clean_of, differences, write
from mmprod.encoders.export.spec import RAW, SPEC, Spec, files_of
from mmprod.encoders.export.titles import FILE, Tokens
from mmprod.encoders.random_base import Kind, random_base
from mmprod.storage.errors import StateError

Exported = Callable[..., tuple[Encoder, Path]]
KINDS: tuple[Kind, ...] = ("clip", "siglip", "chinese-clip", "blip")
WORDS = (
    "red",
    "Blue's",
    "l'amp",
    "dress!!!",
    "table—x",
    "12.5cm",
    "&amp;",
    "灯",
    "红色",
    "ÄÖ",
    "😀",
    "Σας",
    "a_b",
)


def _inputs() -> Inputs:
    rng = np.random.default_rng(0)
    sides = rng.integers(8, 200, (40, 2))
    pictures = tuple(Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sides)
    titles = tuple(" ".join(rng.choice(WORDS, rng.integers(1, 40))) for _ in range(60))
    return with_hard_ones(Inputs(tuple(map(str, range(40))), pictures, titles))


TRIED = _inputs()


@pytest.fixture(scope="module", params=KINDS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return random_base(request.param, TRIED.titles, 64)


def test_tokens_and_pixels_are_the_encoders(encoder: Encoder, tmp_path: Path) -> None:
    write(encoder, tmp_path)
    assert differences(encoder, tmp_path, TRIED) == []


@pytest.mark.parametrize("family", KINDS)
def test_vectors_are_the_encoders(family: str, exported: Exported) -> None:
    encoder, folder = exported(family)
    engine = ExportedEncoder.open(folder, threads=1)
    assert (engine.fingerprint, engine.width) == (encoder.fingerprint, encoder.width)
    np.testing.assert_allclose(engine.titles(TRIED.titles), encoder.titles(TRIED.titles), atol=2e-5)
    np.testing.assert_allclose(engine.pictures(TRIED.pictures), encoder.pictures(TRIED.pictures), atol=2e-5)
    assert engine.titles([]).shape == engine.pictures([]).shape == (0, encoder.width)
    assert engine.cut(engine.tokens(TRIED.titles)) == encoder.cut(encoder.tokens(TRIED.titles)) > 0
    assert engine.cut(engine.tokens([])) == 0


def test_an_engine_for_other_normal_forms_is_not_asked_in_these(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported("clip")[1]
    ExportedEncoder.open(folder, threads=1)
    monkeypatch.setitem(FORMS, "picture", "of-another-time")
    with pytest.raises(StateError, match=r"pictures in the form srgb-1, this version makes of-another-time"):
        ExportedEncoder.open(folder, threads=1)
    ExportedEncoder.open(folder, threads=1, towers=("text",))  # titles have come in the same form


def test_an_engine_that_tells_of_no_forms_is_of_those_before_pictures_were_converted(
    exported: Exported, tmp_path: Path
) -> None:
    shutil.copytree(exported("clip")[1], tmp_path, dirs_exist_ok=True)
    content = json.loads((tmp_path / RAW).read_text())
    del content["forms"]
    (tmp_path / RAW).write_text(json.dumps(content))
    spec = json.loads((tmp_path / SPEC).read_text())
    (tmp_path / SPEC).write_text(json.dumps(spec | {"files": files_of(tmp_path)}))
    with pytest.raises(StateError, match="as stored"):
        ExportedEncoder.open(tmp_path, threads=1, towers=("image",))
    ExportedEncoder.open(tmp_path, threads=1, towers=("text",))


def test_another_tokenizer_is_noticed(tmp_path: Path) -> None:
    encoder = random_base("chinese-clip", TRIED.titles, 64)
    write(encoder, tmp_path)
    content = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(content.replace('"red"', '"der"'))
    assert any("red" in title for title in differences(encoder, tmp_path, TRIED))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, Tokens]:
    encoder, folder = random_base("clip", TRIED.titles, 64), tmp_path_factory.mktemp("clip")
    write(encoder, folder)
    return encoder, Tokens.read(folder, clean_of(encoder.tokenizer), 0)


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cn", "Cs", "Co"]), max_size=60)
    | st.text(st.characters(codec="ascii"), max_size=60)
)
def test_any_title_has_the_tokens_of_clip(clip: tuple[Encoder, Tokens], text: str) -> None:
    """Of characters that this Python knows; whether newer ones are letters, libraries differ on."""
    encoder, made = clip
    title = normalise_title(text)
    found = made.padded(made.rows([title]), int(encoder.tokenizer.context_length))
    np.testing.assert_array_equal(found, tokens(encoder, [title]))


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(48, 48), (64, 40)])
def test_geometry_is_open_clips(mode: Any, interpolation: Any, size: tuple[int, int]) -> None:
    look = PreprocessCfg(size=size, interpolation=interpolation, resize_mode=mode, fill_color=255)
    *steps, _, _ = image_transform_v2(look, is_train=False).transforms
    geometry = Geometry(*size, mode, interpolation, 255)
    for picture in TRIED.pictures:
        wanted: Any = picture
        for step in steps:
            wanted = step(wanted)
        np.testing.assert_array_equal(geometry.pixels(picture), np.asarray(wanted).transpose(2, 0, 1))


def test_an_engine_without_raw_inputs_says_so(clip: tuple[Encoder, Tokens], tmp_path: Path) -> None:
    spec = build(clip[0], "onnx", "fp32", ("text",), tmp_path)
    (tmp_path / RAW).unlink()
    Spec(**{**vars(spec), "files": files_of(tmp_path)}).write(tmp_path)
    with pytest.raises(StateError, match=r"takes tokens and pixels only: it has no raw\.json"):
        ExportedEncoder.open(tmp_path)
    assert (tmp_path / SPEC).exists()
