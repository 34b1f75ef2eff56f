"""Tiny base models with random weights, to try fine-tuning, captioning and export without a download.

Architecture, files and tokenizer are those of the real models, a hundred times smaller; their output is
meaningless.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch

from mmprod.datasets.lazy import lazy
from mmprod.encoders.clip import Encoder, wrap
from mmprod.encoders.tokens import BertTokens
from mmprod.storage.errors import InputError

transformers, tokenizers = lazy("transformers"), lazy("tokenizers")  # optional, CLIP's bases need none
Kind = Literal["clip", "siglip", "chinese-clip", "blip"]
SIDE, PATCH, LAYERS, HEAD, WORDS, CONTEXT = 64, 16, 2, 32, 4000, 32
CLEANING = {"clean": "canonicalize"}  # SigLIP's: lower case, no punctuation


def random_base(kind: Kind, titles: Sequence[str], width: int = 64, seed: int = 0) -> Encoder:
    """A tiny base of the given kind; the vocabulary is learned from `titles` (CLIP has its own).

    Raises InputError without titles or for a `width` that is not a multiple of 32.
    """
    if width % HEAD or width < HEAD:
        raise InputError(f"width {width} is not a multiple of {HEAD}, the width of an attention head")
    if not any(titles):
        raise InputError("no titles to make a vocabulary from: use a table whose products have titles")
    torch.manual_seed(seed)
    if kind == "clip":
        return _clip(width)
    if kind == "siglip":
        return _siglip(titles, width)
    if kind == "chinese-clip":
        return _chinese_clip(titles, width)
    from mmprod.encoders.blip.tiny import tiny_blip  # with transformers, which is optional

    return wrap(*tiny_blip(titles, width=width, seed=seed))


def _clip(width: int) -> Encoder:
    config = {
        "embed_dim": width,
        "vision_cfg": {**_vision(width), "head_width": HEAD},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, **_text(width)},
    }
    model = open_clip.CLIP(**config)
    model.open_clip_config = config
    _prepared(model, "shortest")
    return wrap(model, open_clip.SimpleTokenizer(context_length=CONTEXT))


def _siglip(titles: Sequence[str], width: int) -> Encoder:
    tokenizer = t5_tokenizer(titles)
    config: dict[str, Any] = {
        "embed_dim": width,
        "init_logit_bias": -10,
        "vision_cfg": {**_vision(width), "head_width": HEAD, "pool_type": "avg"},
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": len(tokenizer.tokenizer),
            "tokenizer_kwargs": CLEANING,
            **_text(width),
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
        },
    }
    model = open_clip.CustomTextCLIP(**config)
    model.open_clip_config = {"custom_text": True, **config}
    _prepared(model, "squash")
    return wrap(model, tokenizer)


def _chinese_clip(titles: Sequence[str], width: int) -> Encoder:
    from mmprod.encoders import chinese_clip  # with transformers, which is optional
    from mmprod.encoders.blip.tokenizer import learn_tokenizer

    pieces = learn_tokenizer(titles, WORDS, chinese_clip.CONTEXT).pieces
    shape = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": width // HEAD,
    }
    config = transformers.ChineseCLIPConfig(
        text_config={**shape, "vocab_size": len(pieces), "max_position_embeddings": 64},
        vision_config={**shape, "image_size": SIDE, "patch_size": PATCH},
        projection_dim=width,
    )
    model = chinese_clip.ChineseClip(config)
    _prepared(model, "squash")
    return wrap(model, BertTokens(pieces, chinese_clip.CONTEXT))


def t5_tokenizer(titles: Sequence[str]) -> Any:
    """open_clip's SigLIP tokenizer with a unigram vocabulary learned from `titles`, padded with </s>."""
    special = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "</s>"}
    learned = tokenizers.SentencePieceUnigramTokenizer()
    learned.train_from_iterator(titles, WORDS, False, ["<unk>", "</s>"], unk_token="<unk>")
    with tempfile.TemporaryDirectory() as folder:  # open_clip's tokenizers can only be loaded from files
        (Path(folder) / "learned.json").write_text(learned.to_str(), encoding="utf-8")
        pieces = transformers.PreTrainedTokenizerFast(tokenizer_file=f"{folder}/learned.json", **special)
        pieces.save_pretrained(folder)
        return open_clip.tokenizer.HFTokenizer(folder, CONTEXT, **CLEANING)


def _vision(width: int) -> dict[str, Any]:
    return {"image_size": SIDE, "patch_size": PATCH, "width": width, "layers": LAYERS}


def _text(width: int) -> dict[str, Any]:
    return {"width": width, "heads": width // HEAD, "layers": LAYERS}


def _prepared(model: Any, resize: str) -> None:
    preprocessing = open_clip.transform.PreprocessCfg(size=model.visual.image_size, resize_mode=resize)
    open_clip.set_model_preprocess_cfg(model, dict(vars(preprocessing)))
