"""Encoders: unit vectors, a fingerprint that follows what matters, and refusal of what can't be loaded."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mmprod.datasets.forms import FORMS
from mmprod.encoders import clip
from mmprod.encoders.clip import CONFIG, WEIGHTS, Encoder
from mmprod.storage.errors import InputError, StateError

PICTURES = [Image.new("RGB", size, colour) for size, colour in (((80, 60), "red"), ((9, 200), "blue"))]


@pytest.fixture
def folder(tmp_path: Path, encoder: Encoder) -> Path:
    clip.save(encoder, tmp_path)
    return tmp_path


def test_vectors_have_unit_length(encoder: Encoder) -> None:
    for vectors in (encoder.pictures(PICTURES), encoder.titles(["red dress", "极简风客厅灯", ""])):
        assert vectors.dtype == np.float32
        assert vectors.shape[1] == encoder.width == 128
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_batch_equals_one_by_one(encoder: Encoder) -> None:
    titles = ["red dress", "a much longer title of a green table lamp", "灯"]
    together = encoder.titles(titles)
    alone = np.concatenate([encoder.titles([title]) for title in titles])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_nothing_gives_nothing(encoder: Encoder) -> None:
    assert encoder.pictures([]).shape == encoder.titles([]).shape == (0, 128)
    assert encoder.cut(encoder.tokens([])) == 0


def test_titles_beyond_the_context_window_are_counted(encoder: Encoder) -> None:
    long = "red " * 40
    assert encoder.cut(encoder.tokens([long, "red"])) == 1
    assert np.allclose(encoder.titles([long]), encoder.titles([long + "and blue"]))


def test_saved_and_loaded_gives_the_same_vectors_and_fingerprint(folder: Path, encoder: Encoder) -> None:
    loaded = clip.load(f"local-dir:{folder}")
    assert loaded.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(loaded.titles(["red dress"]), encoder.titles(["red dress"]))
    np.testing.assert_array_equal(loaded.pictures(PICTURES), encoder.pictures(PICTURES))


@pytest.mark.parametrize("kind", ["title", "picture"])
def test_the_fingerprint_follows_the_normal_forms(
    kind: str, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMS, kind, "of-another-time")
    assert clip.wrap(encoder.model, encoder.tokenizer).fingerprint != encoder.fingerprint


def test_the_fingerprint_follows_weights_and_preprocessing(folder: Path, encoder: Encoder) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["logit_scale"] = weights["logit_scale"] + 1e-3
    save_file(weights, folder / WEIGHTS)
    assert clip.load(f"local-dir:{folder}").fingerprint != encoder.fingerprint

    clip.save(encoder, folder)
    config = json.loads((folder / CONFIG).read_text())
    config["preprocess_cfg"]["resize_mode"] = "squash"
    (folder / CONFIG).write_text(json.dumps(config))
    assert clip.load(f"local-dir:{folder}").fingerprint != encoder.fingerprint


def test_the_whole_picture_is_seen(encoder: Encoder) -> None:
    """The transform letterboxes: a change at the far end of a long picture changes the vector."""
    long = Image.new("RGB", (400, 80), "white")
    other = long.copy()
    other.paste("black", (380, 0, 400, 80))
    assert not np.allclose(encoder.pictures([long]), encoder.pictures([other]))


def test_a_name_without_weights_is_refused() -> None:
    with pytest.raises(InputError, match="pretrained tag"):
        clip.load("ViT-B-32")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="no-such-model"):
        clip.load("no-such-model", "laion2b")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=CONFIG):
        clip.load(f"local-dir:{tmp_path}")


def test_a_pickled_checkpoint_is_never_opened(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(InputError, match="pickled"):
        clip.load(f"local-dir:{folder}")


def test_a_damaged_configuration_is_reported(folder: Path) -> None:
    (folder / CONFIG).write_text("{")
    with pytest.raises(StateError, match="damaged"):
        clip.load(f"local-dir:{folder}")


def test_weights_that_do_not_fit_are_refused(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["text_projection"] = torch.zeros(3, 3)
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(InputError, match="can't be loaded"):
        clip.load(f"local-dir:{folder}")


def test_encoders_are_values(encoder: Encoder) -> None:
    with pytest.raises(AttributeError):
        encoder.width = 3  # type: ignore[misc]
    assert replace(encoder, device="cpu").fingerprint == encoder.fingerprint
