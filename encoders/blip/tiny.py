"""A BLIP small enough for tests and for trying the commands."""

from collections.abc import Iterable

import torch
from transformers import BlipConfig

from mmprod.encoders.blip.network import Blip
from mmprod.encoders.blip.tokenizer import BlipTokenizer, learn_tokenizer
from mmprod.storage.errors import InputError

_WORDS = 2000


def tiny_blip(
    titles: Iterable[str],
    side: int = 32,
    width: int = 32,
    layers: int = 2,
    context_length: int = 32,
    seed: int = 0,
) -> tuple[Blip, BlipTokenizer]:
    """A BLIP with random weights and a vocabulary learned from `titles`, for training or tests.

    Pictures of `side` pixels in patches of 8; towers and vectors of dimension `width`, `layers` layers each.
    The same titles and seed give the same model. Raises: InputError without titles.
    """
    titles = [title for title in titles if title]
    if not titles:
        raise InputError("no titles to learn a vocabulary from: use a table whose products have titles")
    tokenizer = learn_tokenizer(titles, _WORDS, context_length)
    words = len(tokenizer.pieces)
    shape = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers}
    ids = {"bos_token_id": words, "sep_token_id": tokenizer.pieces.sep_token_id, "pad_token_id": 0}
    heads = {"num_attention_heads": max(1, width // 16)}
    config = BlipConfig(
        vision_config={**shape, **heads, "image_size": side, "patch_size": 8, "initializer_range": 0.02},
        text_config={
            **shape,
            **heads,
            **ids,
            "vocab_size": words + 2,
            "max_position_embeddings": context_length,
        },
        image_text_hidden_size=width,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Blip(config).eval(), tokenizer
