"""Sample retrievals of a model for some held-out titles, shown in TensorBoard and in the report."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps

from mmprod.datasets.images.images import decode
from mmprod.encoders.clip import Encoder
from mmprod.retrieval import exact
from mmprod.stages.training.held_out import HeldOut, spread

_FOUND, _SIDE, _LINE = 8, 96, 16


@dataclass(frozen=True)
class Answer:
    """The result of one held-out title, given by its row `asked`.

    `found`: the rows whose pictures fit best. `right`: whether each is correct, i.e. the title's own picture
    or one of the same item, picture or title."""

    asked: int
    found: list[int]
    right: list[bool]


def answers(held_out: HeldOut, encoder: Encoder, number: int) -> list[Answer]:
    """The results of `number` titles, evenly spread over the held-out pairs."""
    asked = spread(len(held_out), number)
    vectors = encoder.titles([held_out.titles[row] for row in asked])
    _, found = exact.search(vectors, held_out.images(encoder), min(_FOUND, len(held_out)))
    given = []
    for row, hits in zip(asked, found, strict=True):
        same = (held_out.identity[hits] == held_out.identity[row]) & (held_out.identity[row] >= 0)
        given.append(Answer(int(row), hits.tolist(), (same.any(axis=1) | (hits == row)).tolist()))
    return given


def sheet(held_out: HeldOut, encoder: Encoder, number: int = 6) -> torch.Tensor:
    """An image, uint8 [3, h, w]: one line per title with the pictures found; correct ones are framed."""
    given = answers(held_out, encoder, number)
    page = Image.new("RGB", (_FOUND * _SIDE, len(given) * (_SIDE + _LINE)), "white")
    for line, answer in enumerate(given):
        top = line * (_SIDE + _LINE)
        ImageDraw.Draw(page).text((2, top + 2), held_out.titles[answer.asked][:110], fill="black")
        for place, (row, right) in enumerate(zip(answer.found, answer.right, strict=True)):
            picture = ImageOps.pad(decode(held_out.pictures[row]), (_SIDE - 6, _SIDE - 6), color="white")
            framed = ImageOps.expand(picture, 3, "green" if right else "white")
            page.paste(framed, (place * _SIDE, top + _LINE))
    return torch.from_numpy(np.asarray(page).transpose(2, 0, 1).copy())
