"""Generating captions of pictures, by beam search or by nucleus sampling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from PIL import Image
from torch import Tensor

from mmprod.encoders.blip.network import Blip
from mmprod.encoders.blip.tokenizer import BlipTokenizer
from mmprod.encoders.clip import Encoder
from mmprod.storage.errors import InputError


@dataclass(frozen=True)
class Style:
    """Settings of caption generation.

    ``beam`` keeps the `beams` likeliest partial captions; ``nucleus`` samples each token from the likeliest
    ones that together have probability `top_p` (Holtzman et al. 2020), which gives more variety. Lengths are
    in tokens after the prompt. A `repetition_penalty` over 1 makes repeated tokens less likely (Keskar et al.
    2019).
    """

    method: Literal["beam", "nucleus"] = "beam"
    beams: int = 3
    top_p: float = 0.9
    min_tokens: int = 3
    max_tokens: int = 30
    repetition_penalty: float = 1.0
    seed: int = 0

    def options(self) -> dict[str, Any]:
        """The settings as transformers' generation options."""
        common = {
            "min_new_tokens": self.min_tokens,
            "max_new_tokens": self.max_tokens,
            "repetition_penalty": self.repetition_penalty,
        }
        if self.method == "beam":
            return {**common, "num_beams": self.beams, "do_sample": False}
        return {**common, "do_sample": True, "top_p": self.top_p, "top_k": 0}


class Caption(NamedTuple):
    """A caption, prompt included, and its mean log-probability (natural) per token after the prompt."""

    text: str
    log_probability: float


def captioner(encoder: Encoder) -> Blip:
    """The encoder's model. Raises: InputError when it is not a BLIP."""
    if not isinstance(encoder.model, Blip):
        raise InputError(
            f"a {type(encoder.model).__name__} can't write captions; take a BLIP: see docs/captions.md, or "
            "`mmprod make-base blip` to try it"
        )
    return encoder.model


def caption_pictures(
    encoder: Encoder, pictures: Sequence[Image.Image], style: Style, prompt: str = ""
) -> list[Caption]:
    """Captions of RGB pictures, in one batch. Raises: InputError for an encoder that is not a BLIP."""
    model = captioner(encoder)
    if not pictures:
        return []
    pixels = torch.stack([encoder.transform(picture) for picture in pictures]).to(encoder.device)
    return caption(model, encoder.tokenizer, pixels, style, prompt)


@torch.inference_mode()
def caption(
    model: Blip, tokenizer: BlipTokenizer, pixels: Tensor, style: Style, prompt: str = ""
) -> list[Caption]:
    """Captions of pictures, float [n, 3, s, s] as for `encode_image`; each caption begins with `prompt`.

    The same pictures and seed give the same captions. With beam search, a caption does not depend on the
    other pictures.
    """
    if not len(pixels):
        return []
    states, start = model.image_states(pixels), tokenizer.prompt(prompt).to(pixels.device)
    options = style.options()
    options["max_new_tokens"] = max(1, min(style.max_tokens, tokenizer.context_length - start.shape[1]))
    vocabulary = model.config.text_config.vocab_size
    options["suppress_tokens"] = [*tokenizer.unspoken(), *range(len(tokenizer.pieces), vocabulary)]
    with torch.random.fork_rng(devices=[pixels.device] if pixels.is_cuda else []):
        torch.manual_seed(style.seed)
        tokens = model.generate(states, start, **options)
    scores = log_probabilities(model, states, tokens, start.shape[1])
    texts = [tokenizer.text(row[1:]) for row in tokens]
    return [Caption(text, score) for text, score in zip(texts, scores, strict=True)]


def log_probabilities(model: Blip, states: Tensor, tokens: Tensor, begin: int) -> Sequence[float]:
    """Mean log-probability of each row's tokens, from position `begin` to its end token inclusive."""
    said = tokens[:, begin:]
    counted = said != model.config.text_config.pad_token_id
    logits = model.caption_logits(states, tokens)[:, begin - 1 : -1].float()
    each = F.log_softmax(logits, dim=-1).gather(2, said.unsqueeze(2)).squeeze(2)
    mean: list[float] = ((each * counted).sum(1) / counted.sum(1).clamp(min=1)).tolist()
    return mean
