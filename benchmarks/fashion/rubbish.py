"""Rubbish as it comes in real catalogues, planted among good products: bad pictures and bad titles."""

import io
from collections.abc import Sequence

import numpy as np
from fashion.tables import Row, generator, jpeg, share
from PIL import Image, ImageDraw, ImageOps

from mmprod.datasets.images.images import decode

KINDS = (
    *("blank", "tiny", "placeholder", "collage", "frame", "writing"),
    *("stuffed", "repeated", "short", "swapped"),
)
_SAYINGS = ("SALE 50% OFF", "HOT NEW 2025", "FREE SHIPPING", "BUY 1 GET 1", "BEST PRICE")
_COLOURS = ("red", "black", "navy", "yellow", "green")


def plant(rows: Sequence[Row], part: float, seed: int) -> list[Row]:
    """The rows with a `part` of them spoiled, every kind alike; the column `planted` says how, or is None.

    Rows need sku, title, image and category_l3. Which row is spoiled how depends on its sku and the seed.
    """
    return [_spoil(row, rows, part, seed) for row in rows]


def _spoil(row: Row, rows: Sequence[Row], part: float, seed: int) -> Row:
    if share(row["sku"], f"rubbish {seed}") >= part:
        return {**row, "planted": None}
    rng = generator(row["sku"], f"kind {seed}")
    kind = KINDS[rng.integers(len(KINDS))]
    others = [rows[at] for at in rng.integers(len(rows), size=3)]
    return {**row, **_spoilt(kind, row, others, rng), "planted": kind}


def _spoilt(kind: str, row: Row, others: Sequence[Row], rng: np.random.Generator) -> Row:
    """The columns of a row that are other than they should be."""
    title = row["title"] or ""
    match kind:
        case "stuffed":
            kinds = [other["category_l3"] or "" for other in others]
            return {"title": " ".join([title, *kinds, "Handbag", "Watch"])}
        case "repeated":
            return {"title": " ".join([title.split()[-1] if title else "sale"] * 6)}
        case "short":
            return {"title": "-" if rng.random() < 0.5 else str(rng.integers(99))}
        case "swapped":
            return {"image": jpeg(decode(others[0]["image"]), 90)}
        case "placeholder":
            return {"image": _placeholder()}
    pictures = [decode(one["image"]) for one in (row, *others)]
    return {"image": jpeg(_DRAW[kind](pictures, rng), 85)}


def _placeholder() -> bytes:
    picture = Image.new("RGB", (80, 80), (225, 225, 225))
    ImageDraw.Draw(picture).text((14, 34), "no image", fill=(120, 120, 120))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _blank(pictures: Sequence[Image.Image], rng: np.random.Generator) -> Image.Image:
    noise = rng.normal(rng.integers(200, 250), 1, (80, 60, 3))
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8))


def _tiny(pictures: Sequence[Image.Image], rng: np.random.Generator) -> Image.Image:
    return ImageOps.contain(pictures[0], (24, 24))


def _collage(pictures: Sequence[Image.Image], rng: np.random.Generator) -> Image.Image:
    """Two by two, with a dark line between them."""
    width, height = pictures[0].size
    line = max(1, width // 40)
    sheet = Image.new("RGB", (width, height), (40, 40, 40))
    for at, picture in enumerate(pictures):
        cell = picture.resize(((width - line) // 2, (height - line) // 2))
        sheet.paste(cell, (at % 2 * (cell.width + line), at // 2 * (cell.height + line)))
    return sheet


def _frame(pictures: Sequence[Image.Image], rng: np.random.Generator) -> Image.Image:
    """A coloured frame of 40 to 65 % of the area around the picture."""
    edge = int(rng.uniform(0.17, 0.3) * min(pictures[0].size))
    return ImageOps.expand(pictures[0], edge, str(rng.choice(_COLOURS)))


def _writing(pictures: Sequence[Image.Image], rng: np.random.Generator) -> Image.Image:
    """Two to four advertising lines over the picture."""
    picture = pictures[0].copy()
    width, height = picture.size
    for _ in range(rng.integers(2, 5)):
        place = (rng.uniform(0, 0.1) * width, rng.uniform(0, 0.85) * height)
        size = max(8, width / rng.uniform(5, 7))
        colour, saying = str(rng.choice(_COLOURS)), str(rng.choice(_SAYINGS))
        ImageDraw.Draw(picture).text(place, saying, fill=colour, font_size=size)
    return picture


_DRAW = {"blank": _blank, "tiny": _tiny, "collage": _collage, "frame": _frame, "writing": _writing}
