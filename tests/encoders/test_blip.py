"""BLIP's folders: what is saved comes back bit for bit, transformers agrees, the rest is refused."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import BlipForConditionalGeneration, BlipForImageTextRetrieval
from transformers.utils import logging as noise

from mmprod.encoders import clip
from mmprod.encoders.blip.caption import Style, caption
from mmprod.encoders.blip.match import match_probabilities
from mmprod.encoders.blip.model import Blip, load_blip, save_blip
from mmprod.encoders.blip.tiny import tiny_blip
from mmprod.encoders.blip.tokenizer import BlipTokenizer
from mmprod.storage.errors import InputError, StateError

TITLES = ["red striped mug", "blue cotton T-shirt", "极简风客厅灯", "green rug, 2 m"]
PICTURES = [Image.new("RGB", size, colour) for size, colour in (((80, 60), "red"), ((9, 200), "blue"))]
WEIGHTS, CONFIG = "model.safetensors", "config.json"


@pytest.fixture(scope="module")
def tiny() -> tuple[Blip, BlipTokenizer]:
    """Random, and far from its beginning, where biases are 0 and layer norms 1."""
    model, tokenizer = tiny_blip(TITLES)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model, tokenizer


@pytest.fixture
def folder(tiny: tuple[Blip, BlipTokenizer], tmp_path: Path) -> Path:
    save_blip(*tiny, tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    noise.set_verbosity_error()
    noise.disable_progress_bar()
    yield
    noise.set_verbosity_warning()


def inputs(tokenizer: BlipTokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2)), tokenizer(TITLES)


def keep(folder: Path, wanted: tuple[str, ...]) -> None:
    """Leave only the tensors whose names begin so."""
    tensors = {n: t for n, t in load_file(folder / WEIGHTS).items() if n.startswith(wanted)}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def caption_only(model: Blip, folder: Path) -> None:
    """Write the model as transformers' captioning class does: picture tower and decoder."""
    wanted = ("vision_model.", "text_decoder.")
    tensors = {n: t.clone() for n, t in model.state_dict().items() if n.startswith(wanted)}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def test_saved_and_loaded_gives_the_same_vectors_and_fingerprint(
    tiny: tuple[Blip, BlipTokenizer], folder: Path
) -> None:
    before, after = clip.wrap(*tiny), clip.load(f"local-dir:{folder}")
    assert after.fingerprint == before.fingerprint
    np.testing.assert_array_equal(after.titles(TITLES), before.titles(TITLES))
    np.testing.assert_array_equal(after.pictures(PICTURES), before.pictures(PICTURES))
    pairs = (PICTURES, TITLES[:2])
    np.testing.assert_array_equal(match_probabilities(after, *pairs), match_probabilities(before, *pairs))
    assert after.tokenizer.context_length == before.tokenizer.context_length
    np.testing.assert_allclose(np.linalg.norm(after.titles(TITLES), axis=1), 1, atol=1e-5)


def test_transformers_classes_agree(tiny: tuple[Blip, BlipTokenizer], folder: Path) -> None:
    """ITC and ITM are those of its retrieval class (ITM begun by [ENC]), next words of its captioning one."""
    model, tokenizer = tiny
    pixels, tokens = inputs(tokenizer)
    mask = (tokens != 0).long()
    with torch.no_grad():
        theirs = BlipForImageTextRetrieval.from_pretrained(folder).eval()
        cosines = theirs(tokens, pixels, use_itm_head=False, attention_mask=mask).itm_score
        ours = model.encode_image(pixels, normalize=True) @ model.encode_text(tokens, normalize=True).T
        torch.testing.assert_close(ours, cosines)
        begun = tokens.clone()
        begun[:, 0] = model.config.text_config.bos_token_id + 1
        logits = theirs(begun, pixels, attention_mask=mask).itm_score
        torch.testing.assert_close(model.match(model.image_states(pixels), tokens), logits)

        caption_only(model, folder)
        writer = BlipForConditionalGeneration.from_pretrained(folder).eval()
        begun[:, 0] = model.config.text_config.bos_token_id
        logits = writer(pixels, begun, attention_mask=mask).logits
        torch.testing.assert_close(model.caption_logits(model.image_states(pixels), tokens), logits)


def test_the_text_towers_share_all_but_self_attention(tiny: tuple[Blip, BlipTokenizer]) -> None:
    encoder, decoder = tiny[0].text_encoder, tiny[0].text_decoder.bert
    own = {name for name, p in decoder.named_parameters() if p is not dict(encoder.named_parameters())[name]}
    assert own
    assert all(".attention." in name for name in own)
    assert {name for name, _ in decoder.named_parameters() if ".attention." in name} == own


def test_padding_changes_nothing(tiny: tuple[Blip, BlipTokenizer]) -> None:
    model, tokenizer = tiny
    pixels, tokens = inputs(tokenizer)
    short = tokens[:, : int((tokens != 0).sum(1).max())]
    assert short.shape[1] < tokens.shape[1]
    with torch.no_grad():
        states = model.image_states(pixels)
        torch.testing.assert_close(model.encode_text(short), model.encode_text(tokens))
        torch.testing.assert_close(model.match(states, short), model.match(states, tokens))
        logits = model.caption_logits(states, tokens)[:, : short.shape[1]]
        said = (short != 0)[:, :, None]
        torch.testing.assert_close(model.caption_logits(states, short) * said, logits * said)


def test_a_base_without_decoder_gets_one_and_says_so(
    tiny: tuple[Blip, BlipTokenizer], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep(folder, ("vision_model.", "text_encoder.", "vision_proj.", "text_proj.", "itm_head."))
    with caplog.at_level(logging.WARNING):
        model, tokenizer = load_blip(folder)
    assert "no caption decoder" in caplog.text
    pixels, tokens = inputs(tokenizer)
    with torch.no_grad():
        torch.testing.assert_close(model.encode_text(tokens), tiny[0].encode_text(tokens), rtol=0, atol=0)
    for ours, theirs in zip(
        model.text_encoder.encoder.layer, model.text_decoder.bert.encoder.layer, strict=True
    ):
        torch.testing.assert_close(theirs.attention.self.query.weight, ours.attention.self.query.weight)
    assert len(caption(model, tokenizer, pixels, Style(max_tokens=4))) == 4


def test_a_captioning_base_captions_and_refuses_the_rest(
    tiny: tuple[Blip, BlipTokenizer], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caption_only(tiny[0], folder)
    for _ in range(2):  # as it came, and as saved by us
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            model, tokenizer = load_blip(folder)
        assert "no retrieval heads" in caplog.text
        pixels, tokens = inputs(tokenizer)
        assert caption(model, tokenizer, pixels, Style()) == caption(*tiny, pixels, Style())
        refused = (
            lambda m=model, p=pixels: m.encode_image(p),
            lambda m=model, t=tokens: m.encode_text(t),
            lambda m=model, p=pixels, t=tokens: m.match(m.image_states(p), t),
        )
        for call in refused:
            with pytest.raises(InputError, match="no retrieval heads"):
                call()
        save_blip(model, tokenizer, folder)


def test_names_of_the_hub_come_from_its_cache(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """`Salesforce/blip-…` is a folder in the cache; offline it is found there or the name is refused."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--Salesforce--blip-itm-base-coco"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / ("a" * 40)).symlink_to(folder)
    model, _ = load_blip("Salesforce/blip-itm-base-coco")
    assert model.visual.image_size == 32
    with pytest.raises(InputError, match="blip-nobody"):
        load_blip("Salesforce/blip-nobody")


def test_another_kind_of_model_is_refused(folder: Path) -> None:
    (folder / CONFIG).write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="'bert'"):
        load_blip(folder)


def test_pickled_weights_are_never_opened(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickled"):
        load_blip(folder)


def test_damaged_weights_are_reported(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(StateError, match="damaged"):
        load_blip(folder)


@pytest.mark.parametrize("change", ["shape", "missing", "unknown"])
def test_weights_that_do_not_fit_are_refused(folder: Path, change: str) -> None:
    tensors = load_file(folder / WEIGHTS)
    if change == "shape":
        tensors["itm_head.weight"] = torch.zeros(3, 3)
    elif change == "missing":
        del tensors["vision_model.post_layernorm.weight"]
    else:
        tensors["question_head.weight"] = torch.zeros(2)
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(InputError, match=WEIGHTS):
        load_blip(folder)


def test_tokens_and_back(tiny: tuple[Blip, BlipTokenizer]) -> None:
    tokenizer = tiny[1]
    assert tokenizer.text(tokenizer(["红 Red striped 客厅灯"])[0]).endswith("red striped 客厅灯")
    assert tokenizer([]).shape == (0, tokenizer.context_length)
    assert tokenizer([""]).tolist()[0][:3] == [2, 3, 0]
    long = tokenizer(["red " * 100])
    assert long.shape == (1, tokenizer.context_length)
    assert int(long[0, -1]) == 3  # cut, and still ended


def test_the_same_titles_make_the_same_model() -> None:
    one, other = tiny_blip(TITLES), tiny_blip(TITLES)
    assert clip.wrap(*one).fingerprint == clip.wrap(*other).fingerprint
    assert clip.wrap(*tiny_blip(TITLES, seed=1)).fingerprint != clip.wrap(*one).fingerprint
    with pytest.raises(InputError, match="no titles"):
        tiny_blip([""])
