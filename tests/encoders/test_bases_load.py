"""Every kind of base: saved and loaded it is the same encoder, and what can't be right is refused."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import BertTokenizer, ChineseCLIPImageProcessor, ChineseCLIPModel

from mmprod.encoders import folders
from mmprod.encoders.clip import Encoder, load, save, wrap
from mmprod.encoders.random_base import Kind, random_base
from mmprod.storage.errors import InputError, StateError

KINDS: tuple[Kind, ...] = ("clip", "siglip", "chinese-clip", "blip")
TITLES = ["red dress for women", "红色 连衣裙 女 夏季", "Blue shirt, men's cotton 100%", "LED lamp"]
PICTURES = [Image.radial_gradient("L").convert("RGB").resize((90, 50)), Image.new("RGB", (20, 64), "red")]
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def bases() -> dict[Kind, Encoder]:
    return {kind: random_base(kind, TITLES) for kind in KINDS}


@pytest.fixture(scope="module")
def saved(bases: dict[Kind, Encoder], tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    found = {}
    for kind, base in bases.items():
        found[kind] = tmp_path_factory.mktemp(kind)
        save(base, found[kind])
    return found


@pytest.fixture
def chinese(saved: dict[Kind, Path], tmp_path: Path) -> Path:
    return shutil.copytree(saved["chinese-clip"], tmp_path / "base")


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tensors = load_file(folder / folders.WEIGHTS)
    change(tensors)
    save_file(tensors, folder / folders.WEIGHTS)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_is_the_same_encoder(
    kind: Kind, bases: dict[Kind, Encoder], saved: dict[Kind, Path], tmp_path: Path
) -> None:
    base = bases[kind]
    moved = shutil.copytree(saved[kind], tmp_path / "elsewhere")  # nothing but the folder is needed
    loaded = load(f"local-dir:{moved}")
    assert (loaded.fingerprint, loaded.width, loaded.geometry.height) == (
        base.fingerprint,
        base.width,
        base.geometry.height,
    )
    np.testing.assert_array_equal(loaded.titles(TITLES), base.titles(TITLES))
    np.testing.assert_array_equal(loaded.pictures(PICTURES), base.pictures(PICTURES))
    again = tmp_path / "again"
    again.mkdir()
    save(loaded, again)
    assert load(f"local-dir:{again}").fingerprint == base.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_every_base_is_shaped_like_an_open_clip_model(kind: Kind, bases: dict[Kind, Encoder]) -> None:
    base = bases[kind]
    model: Any = base.model
    pixels = torch.stack([base.transform(picture) for picture in PICTURES])
    assert pixels.shape == (2, 3, base.geometry.height, base.geometry.height)
    tokens = base.tokenizer(TITLES)
    assert tokens.dtype == torch.int64
    assert tokens.shape == (len(TITLES), base.tokenizer.context_length)
    assert model.encode_image(pixels).shape == (2, base.width)
    assert model.encode_text(tokens).shape == (len(TITLES), base.width)
    torch.testing.assert_close(model.encode_image(pixels, normalize=True).norm(dim=1), torch.ones(2))
    assert isinstance(model.logit_scale, torch.nn.Parameter)
    assert (model.logit_bias is not None) == (kind == "siglip")
    assert {"size", "mean", "std", "interpolation", "resize_mode"} <= set(model.visual.preprocess_cfg)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_can_be_trained_and_saved(kind: Kind, bases: dict[Kind, Encoder], tmp_path: Path) -> None:
    """What the trainer does: a deep copy, gradient checkpointing, a changed weight, a new fingerprint."""
    base = bases[kind]
    model: Any = copy.deepcopy(base.model).train()
    model.set_grad_checkpointing(True)
    loss = model.encode_text(base.tokenizer(TITLES)).square().cumsum(1).mean()
    loss.backward()
    with torch.no_grad():
        model.logit_scale += 1
    model.set_grad_checkpointing(False)
    trained = wrap(model, base.tokenizer)
    assert trained.fingerprint != base.fingerprint
    save(trained, tmp_path)
    assert load(f"local-dir:{tmp_path}").fingerprint == trained.fingerprint


@pytest.mark.parametrize("kind", KINDS[1:])
def test_the_fingerprint_follows_the_vocabulary(kind: Kind, bases: dict[Kind, Encoder]) -> None:
    other = random_base(kind, ["quartz jukebox", "fjord glyph"])
    assert wrap(bases[kind].model, other.tokenizer).fingerprint != bases[kind].fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_titles_that_fill_the_context_window_are_counted(kind: Kind, bases: dict[Kind, Encoder]) -> None:
    assert bases[kind].cut(bases[kind].tokens([*TITLES[:2], "red dress " * 40])) == 1


def test_vectors_are_those_of_transformers_own_model(saved: dict[Kind, Path]) -> None:
    """The whole chain, picture and text, against transformers' classes on the same folder."""
    folder = saved["chinese-clip"]
    loaded = load(f"local-dir:{folder}")
    model = ChineseCLIPModel.from_pretrained(folder, use_safetensors=True).eval()
    tokenizer = BertTokenizer.from_pretrained(folder)
    with torch.no_grad():
        words = tokenizer(TITLES, padding=True, return_tensors="pt")
        text = torch.nn.functional.normalize(model.get_text_features(**words).pooler_output, dim=-1)
        pixels = ChineseCLIPImageProcessor.from_pretrained(folder)(PICTURES, return_tensors="pt")
        image = torch.nn.functional.normalize(model.get_image_features(**pixels).pooler_output, dim=-1)
    np.testing.assert_allclose(loaded.titles(TITLES), text.numpy(), atol=1e-6)
    cosine = (loaded.pictures(PICTURES) * image.numpy()).sum(axis=1)
    assert cosine.min() > 0.9999  # they resize by torchvision, open_clip by Pillow


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({"size": {"height": 64, "width": 64}, "do_center_crop": False}, "squash"),
        ({"size": 64, "do_center_crop": False}, "squash"),
        ({"size": {"shortest_edge": 64}, "do_center_crop": True, "crop_size": 64}, "shortest"),
    ],
)
def test_both_ways_of_fitting_a_picture_are_read(chinese: Path, settings: dict[str, Any], mode: str) -> None:
    edit(chinese / folders.PICTURES, **settings)
    config: Any = load(f"local-dir:{chinese}").model.visual.preprocess_cfg  # type: ignore[union-attr]
    assert config["resize_mode"] == mode
    assert config["size"] == 64


def test_position_numbers_of_old_checkpoints_are_passed_over(chinese: Path) -> None:
    before = load(f"local-dir:{chinese}").fingerprint
    change_weights(
        chinese, lambda t: t.update({"text_model.embeddings.position_ids": torch.arange(64)[None]})
    )
    assert load(f"local-dir:{chinese}").fingerprint == before


REFUSED: dict[str, tuple[Damage, type[Exception], str]] = {
    "only a pickle": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        InputError,
        r"pickled checkpoints \(.bin, .pt\) are not opened",
    ),
    "a tensor missing": (
        lambda f: change_weights(f, lambda t: t.pop("visual_projection.weight")),
        InputError,
        "Missing key.*visual_projection",
    ),
    "a tensor too many": (
        lambda f: change_weights(f, lambda t: t.update(strange=torch.zeros(1))),
        InputError,
        "Unexpected key.*strange",
    ),
    "a tensor of another shape": (
        lambda f: change_weights(f, lambda t: t.update({"visual_projection.weight": torch.zeros(3, 3)})),
        InputError,
        "size mismatch",
    ),
    "cut weights": (
        lambda f: (f / folders.WEIGHTS).write_bytes((f / folders.WEIGHTS).read_bytes()[:5000]),
        StateError,
        "damaged",
    ),
    "cut configuration": (lambda f: (f / folders.CONFIG).write_text("{"), StateError, "damaged"),
    "a list as configuration": (lambda f: (f / folders.CONFIG).write_text("[]"), StateError, "JSON object"),
    "another kind of model": (
        lambda f: edit(f / folders.CONFIG, model_type="bert"),
        InputError,
        "model_type 'bert'",
    ),
    "an impossible configuration": (
        lambda f: edit(f / folders.CONFIG, projection_dim="wide"),
        InputError,
        "can't be loaded",
    ),
    "no preprocessing": (lambda f: (f / folders.PICTURES).unlink(), InputError, "how pictures"),
    "preprocessing of another size": (
        lambda f: edit(f / folders.PICTURES, size={"height": 32, "width": 32}),
        InputError,
        "the tower takes 64",
    ),
    "no tokenizer": (
        lambda f: [path.unlink() for path in f.glob("tokenizer*")],
        InputError,
        "holds no tokenizer",
    ),
    "a tokenizer of another model": (
        lambda f: edit(f / folders.CONFIG, text_config={"vocab_size": 5}),
        InputError,
        "the model knows 5",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_right_is_refused(chinese: Path, case: str) -> None:
    damage, error, message = REFUSED[case]
    damage(chinese)
    with pytest.raises(error, match=message):
        load(f"local-dir:{chinese}")


def test_a_damaged_open_clip_folder_is_reported(saved: dict[Kind, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(saved["clip"], tmp_path / "base")
    weights = folder / folders.OPEN_CLIP_WEIGHTS
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(StateError, match="damaged"):
        load(f"local-dir:{folder}")


def test_an_open_clip_model_without_its_configuration_can_not_be_saved(
    bases: dict[Kind, Encoder], tmp_path: Path
) -> None:
    model: Any = copy.deepcopy(bases["clip"].model)
    del model.open_clip_config
    with pytest.raises(InputError, match="open_clip_config"):
        save(wrap(model, bases["clip"].tokenizer), tmp_path)


@pytest.fixture
def hub(tmp_path: Path, chinese: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hugging Face cache that holds one repository, and no network."""
    repository = tmp_path / "hub" / "models--shop--base"
    shutil.copytree(chinese, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return repository


def test_a_repository_of_the_hub_cache_is_loaded_by_name(hub: Path, bases: dict[Kind, Encoder]) -> None:
    expected = bases["chinese-clip"].fingerprint
    assert load("transformers:shop/base").fingerprint == expected
    assert load(f"transformers:shop/base@{'0' * 40}").fingerprint == expected


@pytest.mark.parametrize("name", ["shop/other", "no such name", "shop/base@other"])
def test_a_repository_that_can_not_be_had_is_refused(hub: Path, name: str) -> None:
    with pytest.raises(InputError, match="is not available"):
        load(f"transformers:{name}")


@pytest.mark.parametrize(("titles", "width"), [([], 64), (["", ""], 64), (TITLES, 48), (TITLES, 0)])
def test_a_base_needs_titles_and_a_width_of_whole_heads(titles: list[str], width: int) -> None:
    with pytest.raises(InputError, match=r"titles|width"):
        random_base("siglip", titles, width)
