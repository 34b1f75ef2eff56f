"""Groups, layer-wise rates, frozen layers and the schedule."""

import copy
from types import ModuleType
from typing import Any

import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip_train.scheduler import cosine_lr

from mmprod.encoders.random_base import Kind, random_base
from mmprod.encoders.training.batch import Batch
from mmprod.encoders.training.dual import contrastive
from mmprod.encoders.training.layers import blocks, depth, freeze, tower_of, train_mode
from mmprod.encoders.training.optim import learning_rate, optimizer_of
from mmprod.encoders.training.options import Options
from mmprod.encoders.training.trainer import Trainer, prepare
from mmprod.storage.errors import InputError

TEXT = {"context_length": 12, "vocab_size": 60, "width": 16, "heads": 2, "layers": 2}
KINDS: tuple[Kind, ...] = ("clip", "siglip", "chinese-clip", "blip")
TITLES = ["red shoe for men", "blue shirt", "green summer hat"] * 9


def resnet() -> Any:
    model = open_clip.CLIP(16, {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}, TEXT)
    look = open_clip.transform.PreprocessCfg(size=64)
    open_clip.set_model_preprocess_cfg(model, dict(vars(look)))
    return model


def timm_tower(name: str, pool: str) -> Any:
    vision = {"timm_model_name": name, "image_size": 32, "timm_pool": pool, "timm_proj": "linear"}
    return open_clip.CustomTextCLIP(16, vision, TEXT)


def test_gains_and_biases_do_not_decay(driver: ModuleType) -> None:
    model = driver.new_model("siglip")
    optimizer = optimizer_of(model, Options(wd=0.3))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == sum(1 for _ in model.parameters())
    for name, parameter in model.named_parameters():
        plain = name.endswith((".bias", "in_proj_bias")) or ".ln_" in name or name.startswith("logit")
        plain |= name.endswith("class_embedding")
        assert decay[id(parameter)] == (0.0 if plain else 0.3), name


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("vit", {"visual.proj": 0, "visual.ln_post.weight": 1, "visual.transformer.resblocks.1.ln_1.bias": 1,
                 "visual.transformer.resblocks.0.mlp.c_fc.weight": 2, "visual.conv1.weight": 3,
                 "visual.class_embedding": 3, "text_projection": 0, "ln_final.bias": 1,
                 "transformer.resblocks.1.attn.in_proj_weight": 1, "transformer.resblocks.0.ln_2.weight": 2,
                 "token_embedding.weight": 3, "positional_embedding": 3, "logit_scale": 0}),
        ("resnet", {"visual.attnpool.q_proj.weight": 0, "visual.layer4.0.conv1.weight": 1,
                    "visual.layer1.0.bn1.weight": 4, "visual.conv1.weight": 5, "visual.bn3.bias": 5}),
        ("siglip", {"visual.proj": 0, "text.text_projection.weight": 0, "text.ln_final.weight": 1,
                    "text.transformer.resblocks.1.ln_1.weight": 1, "text.token_embedding.weight": 3,
                    "logit_bias": 0}),
        ("chinese-clip", {"visual_projection.weight": 0, "vision_model.post_layernorm.weight": 1,
                          "vision_model.encoder.layers.1.mlp.fc1.weight": 1,
                          "vision_model.encoder.layers.0.mlp.fc1.weight": 2,
                          "vision_model.embeddings.patch_embedding.weight": 3, "text_projection.weight": 0,
                          "text_model.encoder.layer.1.output.dense.weight": 1,
                          "text_model.encoder.layer.0.attention.self.query.weight": 2,
                          "text_model.embeddings.word_embeddings.weight": 3, "logit_scale": 0}),
        ("blip", {"vision_proj.weight": 0, "text_proj.bias": 0, "itm_head.weight": 0,
                  "vision_model.encoder.layers.1.self_attn.qkv.weight": 1,
                  "text_encoder.encoder.layer.1.crossattention.self.key.weight": 1,
                  "text_decoder.bert.encoder.layer.0.attention.self.query.weight": 2,
                  "text_decoder.cls.predictions.transform.dense.weight": 0,
                  "text_encoder.embeddings.word_embeddings.weight": 3}),
        ("timm vit", {"visual.head.proj.weight": 0, "visual.trunk.norm.weight": 1,
                      "visual.trunk.blocks.11.attn.qkv.weight": 1, "visual.trunk.blocks.0.norm1.weight": 12,
                      "visual.trunk.patch_embed.proj.weight": 13, "visual.trunk.cls_token": 13}),
        ("timm resnet", {"visual.trunk.layer4.1.conv2.weight": 1, "visual.trunk.layer1.0.bn1.bias": 4,
                         "visual.trunk.conv1.weight": 5}),
    ],
)  # fmt: skip
def test_depths(driver: ModuleType, model: str, expected: dict[str, int]) -> None:
    made = {
        "vit": driver.new_model,
        "resnet": resnet,
        "timm vit": lambda: timm_tower("vit_tiny_patch16_224", "token"),
        "timm resnet": lambda: timm_tower("resnet18", "avg"),
    }.get(model, lambda: random_base(model, TITLES, 32).model)()
    towers = {tower: blocks(made, tower) for tower in ("image", "text")}
    found = {name: depth(name, towers) for name, _ in made.named_parameters()}
    assert {name: found[name] for name in expected} == expected
    towerless = {name for name in found if tower_of(name) is None}
    assert towerless <= {"logit_scale", "logit_bias", "itm_head.weight", "itm_head.bias"}


def test_each_layer_learns_so_much_less(driver: ModuleType) -> None:
    model = driver.new_model()
    optimizer = optimizer_of(model, Options(layer_decay=0.5))
    scale = {id(p): group["scale"] for group in optimizer.param_groups for p in group["params"]}
    named = dict(model.named_parameters())
    expected = {
        "text_projection": 1,
        "transformer.resblocks.1.ln_1.weight": 0.5,
        "visual.conv1.weight": 0.125,
    }
    assert {name: scale[id(named[name])] for name in expected} == expected


@pytest.mark.parametrize("unlocked", range(5))
@pytest.mark.parametrize("tower", ["image", "text"])
def test_freezing_equals_open_clip(driver: ModuleType, tower: str, unlocked: int) -> None:
    ours, theirs = driver.new_model(), driver.new_model()
    freeze(ours, tower, unlocked)
    (theirs.lock_image_tower if tower == "image" else theirs.lock_text_tower)(unlocked)
    for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert one.requires_grad == other.requires_grad, name


def test_frozen_batch_normalisation_keeps_its_statistics() -> None:
    options = Options(lock_image=True, precision="fp32", batch_size=4)
    model = resnet()
    prepare(model, options)
    before = copy.deepcopy(model.state_dict())
    trainer = Trainer(model, contrastive(model, 16, options), options, 3, "cpu")
    rows = torch.arange(4).repeat(3, 1).T
    tokens = torch.tensor([[5, 59], [7, 59], [8, 59], [9, 59]])
    trainer.advance(Batch(torch.randint(0, 255, (4, 3, 64, 64), dtype=torch.uint8), tokens, rows))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("visual."), name
    model.visual.requires_grad_(True)
    train_mode(model)
    assert model.visual.bn1.training


@pytest.mark.parametrize(("kind", "precision"), [*((k, "fp32") for k in KINDS), ("clip", "amp_bf16")])
def test_recomputing_activations_changes_no_gradient(kind: Kind, precision: str) -> None:
    base = random_base(kind, TITLES, 32)
    batch = Batch(
        torch.randint(0, 255, (3, 3, base.geometry.height, base.geometry.height), dtype=torch.uint8),
        base.tokenizer(TITLES[:3]),
        torch.arange(3).repeat(3, 1).T,
    )
    found = []
    for checkpointing in (False, True):
        model = copy.deepcopy(base.model)
        options = Options(precision=precision, grad_checkpointing=checkpointing, lr=1e-3)
        prepare(model, options)
        trainer = Trainer(model, contrastive(model, base.width, options), options, 5, "cpu")
        trainer.advance(batch)
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-5, rtol=1e-3)


def test_recomputing_is_refused_where_a_tower_can_not() -> None:
    with pytest.raises(InputError, match="the picture tower of this CLIP can't"):
        prepare(resnet(), Options(grad_checkpointing=True))
    prepare(timm_tower("vit_tiny_patch16_224", "token"), Options(grad_checkpointing=True))


@given(steps=st.integers(1, 400), warmup=st.integers(0, 300), lr=st.floats(1e-8, 1))
def test_schedule(steps: int, warmup: int, lr: float) -> None:
    options = Options(lr=lr, warmup=warmup)
    rates = [learning_rate(step, steps, options) for step in range(1, steps + 1)]
    rise = min(warmup, steps // 2)
    assert rates[:rise] == pytest.approx([lr * (k + 1) / rise for k in range(rise)])
    assert all(0 < rate <= lr * (1 + 1e-9) for rate in rates)
    assert rates[rise:] == sorted(rates[rise:], reverse=True)
    assert rates[rise] == pytest.approx(lr)
    if steps > 50:
        assert rates[-1] < 0.02 * lr
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    theirs = cosine_lr(optimizer, lr, rise, steps)
    assert rates == pytest.approx([theirs(step) for step in range(steps)])
