"""Trimming is exact: a tower gives the same features on no more columns than its titles need."""

import copy
from typing import Any

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmprod.encoders.random_base import random_base
from mmprod.encoders.towers import encode_text, lengths, trim
from mmprod.encoders.train import tiny_config

VISION = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 32}
TEXT = {"context_length": 77, "vocab_size": 120, "width": 64, "heads": 2, "layers": 3}
BASE: dict[str, Any] = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT}
EOS: dict[str, Any] = {**TEXT, "pool_type": "eos", "eos_id": 7, "proj_bias": True}
CAUSAL = {
    "like ViT-B-32": lambda: open_clip.CLIP(**BASE),
    "tiny.json": lambda: open_clip.CLIP(**tiny_config()),
    "quickgelu": lambda: open_clip.CLIP(**BASE, quick_gelu=True),
    "custom text": lambda: open_clip.CustomTextCLIP(**BASE),
    "pooled at eos": lambda: open_clip.CustomTextCLIP(**BASE | {"text_cfg": EOS}),
}
TITLES = ["red dress", "红色 连衣裙 女 夏季", "a cheap LED lamp for the desk, with a very long title", ""]


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    torch.manual_seed(0)
    return {name: make().eval() for name, make in CAUSAL.items()}


@pytest.fixture(scope="module", params=["chinese-clip", "blip"])
def masked(request: pytest.FixtureRequest) -> Any:
    return random_base(request.param, TITLES)


def rows(model: Any, counts: list[int], seed: int) -> Tensor:
    """A row of so many random tokens for each count, then the end of the text, then padding."""
    generator = torch.Generator().manual_seed(seed)
    end = 7 if getattr(model, "text", None) is not None and model.text.pool_type == "eos" else None
    tokens = torch.zeros(len(counts), model.context_length, dtype=torch.int64)
    for row, count in zip(tokens, counts, strict=True):
        row[:count] = torch.randint(8, model.vocab_size - 1, (count,), generator=generator)
        row[count] = end or model.vocab_size - 1
    return tokens


@pytest.mark.parametrize("name", CAUSAL)
@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(0, 31), min_size=1, max_size=6), seed=st.integers(0, 9))
def test_a_causal_tower_gives_what_open_clip_gives_on_all_columns(
    models: dict[str, Any], name: str, counts: list[int], seed: int
) -> None:
    model = models[name]
    tokens = rows(model, counts, seed)
    some = trim(model, tokens)
    assert lengths(model, tokens).tolist() == [count + 1 for count in counts]
    assert some.shape == (len(counts), max(counts) + 1)
    with torch.no_grad():
        whole = model.encode_text(tokens, normalize=True)
        torch.testing.assert_close(encode_text(model, some, normalize=True), whole, atol=1e-6, rtol=0)
        torch.testing.assert_close(encode_text(model, tokens, normalize=True), whole, atol=1e-6, rtol=0)
        raw = model.encode_text(tokens)
        torch.testing.assert_close(encode_text(model, some), raw, atol=1e-5, rtol=1e-5)


def test_a_masked_tower_gives_what_it_gives_on_all_columns(masked: Any) -> None:
    tokens = masked.tokenizer(TITLES)
    some = trim(masked.model, tokens)
    assert some.shape[1] == int((tokens != 0).sum(1).max()) < tokens.shape[1]
    with torch.no_grad():
        whole = masked.model.encode_text(tokens, normalize=True)
        torch.testing.assert_close(encode_text(masked.model, some, normalize=True), whole, atol=1e-6, rtol=0)
        for row, expected in zip(tokens, whole, strict=True):
            alone = encode_text(masked.model, trim(masked.model, row[None]), normalize=True)[0]
            torch.testing.assert_close(alone, expected, atol=1e-6, rtol=0)


def test_a_tower_that_sees_its_padding_keeps_it() -> None:
    base = random_base("siglip", TITLES)
    tokens = base.tokenizer(["lamp"])
    assert torch.equal(trim(base.model, tokens), tokens)
    expected = base.model.encode_text(tokens)  # type: ignore[operator]
    assert torch.equal(encode_text(base.model, tokens), expected)
    assert not torch.allclose(encode_text(base.model, tokens[:, :8]), expected, atol=1e-3)


def test_bidirectional_and_class_token_towers_are_left_alone() -> None:
    for change in ({"no_causal_mask": True}, {"embed_cls": True}):
        model = open_clip.CustomTextCLIP(**BASE | {"text_cfg": TEXT | change}).eval()
        tokens = rows(model, [3, 9], 0)
        assert trim(model, tokens).shape == tokens.shape
        assert torch.equal(encode_text(model, tokens), model.encode_text(tokens))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_untrimmed_tower(models: dict[str, Any], checkpointing: bool) -> None:
    model, other = (copy.deepcopy(models["like ViT-B-32"]).train() for _ in range(2))
    model.set_grad_checkpointing(checkpointing)
    tokens = rows(model, [4, 11, 2], 0)
    encode_text(model, trim(model, tokens), normalize=True).square().cumsum(1).sum().backward()
    other.encode_text(tokens, normalize=True).square().cumsum(1).sum().backward()
    for (name, ours), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        if not name.startswith("visual") and name != "logit_scale":
            assert ours.grad is not None, name
            assert (ours.grad - theirs.grad).abs().max() < 5e-6 * theirs.grad.abs().max(), name


def test_it_runs_under_bfloat16_autocast(models: dict[str, Any]) -> None:
    model = models["like ViT-B-32"]
    tokens = rows(model, [4, 11, 2], 0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = encode_text(model, trim(model, tokens), normalize=True)
        whole = model.encode_text(tokens, normalize=True)
    assert torch.cosine_similarity(half.float(), whole.float()).min() > 0.9999


def test_no_rows_stay_no_rows(models: dict[str, Any]) -> None:
    assert trim(models["tiny.json"], torch.zeros(0, 32, dtype=torch.int64)).shape == (0, 32)


def test_titles_of_all_lengths_come_back_in_their_order() -> None:
    encoder = random_base("clip", TITLES)
    titles = [f"{'red ' * (n % 37)}lamp {n}" for n in range(150)]
    with torch.no_grad():
        whole = encoder.model.encode_text(encoder.tokenizer(titles), normalize=True)  # type: ignore[operator]
    torch.testing.assert_close(torch.from_numpy(encoder.titles(titles)), whole, atol=1e-6, rtol=0)
