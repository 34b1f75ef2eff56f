"""Scores pairs of a picture and a title with BLIP's matching head (ITM)."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from mmprod.encoders.blip.network import Blip
from mmprod.encoders.clip import Encoder
from mmprod.encoders.towers import trim
from mmprod.storage.errors import InputError

_BATCH = 32  # pairs at once


def match_probabilities(
    encoder: Encoder, pictures: Sequence[Image.Image], titles: Sequence[str]
) -> np.ndarray:
    """P(title i describes picture i) by the ITM head: float32 [n], for RGB pictures.

    More accurate than comparing vectors, since the words attend to the picture, but slower: each pair goes
    through the text encoder. Raises: InputError when the encoder is not a BLIP with a matching head.
    """
    model = encoder.model
    if not isinstance(model, Blip):
        raise InputError(
            f"this encoder is a {type(model).__name__}; only a BLIP can judge whether a title fits a "
            "picture: name one as encoder.model"
        )
    found = np.empty(len(pictures), np.float32)
    with torch.inference_mode():
        for start in range(0, len(pictures), _BATCH):
            part = slice(start, start + _BATCH)
            pixels = torch.stack([encoder.transform(picture) for picture in pictures[part]])
            tokens = trim(model, encoder.tokenizer(list(titles[part])))
            logits = model.match(model.image_states(pixels.to(encoder.device)), tokens.to(encoder.device))
            found[part] = logits.float().softmax(dim=1)[:, 1].cpu().numpy()
    return found
