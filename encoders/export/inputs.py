"""Inputs for testing engines: real pictures and titles, and known hard cases."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import Normalize, ToTensor

from mmprod.encoders.clip import Encoder
from mmprod.storage.errors import InputError

FEWEST = 32  # least number of real pictures, and of real titles, for a meaningful test
_STRIPES = np.indices((96, 96)).sum(axis=0)[..., None] % 2 * np.array([255, 255, 255])


@dataclass(frozen=True)
class Inputs:
    """Pictures (RGB) and titles (in normal form); `names` identify the pictures in reports."""

    names: tuple[str, ...]
    pictures: tuple[Image.Image, ...]
    titles: tuple[str, ...]


def with_hard_ones(inputs: Inputs) -> Inputs:
    """The hard cases followed by the given inputs.

    Hard cases: black, white, one-coloured and striped pictures, a very long one; an empty title, titles of
    one letter, of one punctuation mark, in another script, longer than any context window.
    Raises: InputError for fewer than 32 pictures or titles, which are too few for a meaningful test.
    """
    if min(len(inputs.pictures), len(inputs.titles)) < FEWEST:
        found = f"{len(inputs.pictures)} pictures and {len(inputs.titles)} titles"
        raise InputError(f"{found} to try the engine with, want at least {FEWEST} of each")
    plain = {colour: Image.new("RGB", (64, 64), colour) for colour in ("black", "white", "red", "blue")}
    stripes = Image.fromarray(_STRIPES.astype(np.uint8))
    hard = plain | {"stripes": stripes, "long": stripes.resize((400, 24))}
    longest = max(inputs.titles, key=len)
    titles = ("", "a", ".", "灯", longest, " ".join([longest] * 40))
    return Inputs((*hard, *inputs.names), (*hard.values(), *inputs.pictures), (*titles, *inputs.titles))


def pixels(encoder: Encoder, pictures: Sequence[Image.Image]) -> np.ndarray:
    """RGB pictures to uint8 [n, 3, height, width]: the encoder's transform without its last two steps.

    Raises: InputError if the transform does not end in ToTensor and Normalize.
    """
    *geometry, tensor, normalise = encoder.transform.transforms  # type: ignore[attr-defined]
    if not (isinstance(tensor, ToTensor) and isinstance(normalise, Normalize)):
        raise InputError(f"the encoder's transform ends in {tensor} and {normalise}, not ToTensor, Normalize")
    return np.stack([_resized(picture, geometry) for picture in pictures])


def _resized(picture: Image.Image, geometry: Sequence[object]) -> np.ndarray:
    for step in geometry:
        picture = step(picture)  # type: ignore[operator]
    return np.asarray(picture).transpose(2, 0, 1)


def tokens(encoder: Encoder, titles: Sequence[str]) -> np.ndarray:
    """Titles to int64 [n, context length], padded."""
    found: torch.Tensor = encoder.tokenizer(list(titles))
    return found.numpy()


def pad_of(encoder: Encoder) -> int:
    """The pad token: the last token of an empty title."""
    return int(tokens(encoder, [""])[0, -1])
