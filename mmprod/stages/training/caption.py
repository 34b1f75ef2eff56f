"""Captions for products of the store, written by a BLIP from their pictures."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from mmprod.datasets.categories import within
from mmprod.datasets.images.images import BadImage, decode
from mmprod.datasets.schemas import category_path
from mmprod.datasets.store.record import Record
from mmprod.datasets.store.store import Store
from mmprod.encoders.blip.caption import Style, caption_pictures
from mmprod.encoders.clip import Encoder
from mmprod.sections import Caption as Section
from mmprod.sections import Config
from mmprod.stages.outcome import Advance
from mmprod.storage import parquet
from mmprod.storage.errors import InputError
from mmprod.storage.files import replace_file

CAPTION = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("caption", pa.string()),  # null where `reason` says why there is none
        pa.field("log_probability", pa.float32()),  # mean per token
        pa.field("reason", pa.string()),
    ]
)


@dataclass(frozen=True)
class Captioned:
    """A product and its caption; or, without one, the `reason`: what is wrong with its picture."""

    product_id: str
    title: str
    category: str
    prompt: str
    caption: str | None = None
    log_probability: float | None = None
    reason: str | None = None


def choose(
    store: Store, product_ids: Sequence[str] = (), category: str | None = None, limit: int | None = None
) -> list[Record]:
    """The live products by id, or those of a category, or all; at most `limit`.

    Raises: InputError for an id that is not there, or when there are none.
    """
    if product_ids:
        records = store.get_many(product_ids)
        unknown = [
            name for name, record in zip(product_ids, records, strict=True) if not (record and record.live)
        ]
        if unknown:
            raise InputError(f"no live product {', '.join(map(repr, unknown))} in the store")
        return [record for record in records if record][:limit]
    fitting = (
        r for r in store.iterate() if category is None or within(category_path(r.category), (category,))
    )
    chosen = list(islice(fitting, limit))
    if not chosen:
        raise InputError(f"no live product in {category!r}" if category else "no live product in the store")
    return chosen


def caption_products(
    config: Config,
    store: Store,
    encoder: Encoder,
    products: Iterable[Record],
    prompt: str | None = None,
    advance: Advance = lambda rows: None,
) -> Iterator[Captioned]:
    """A caption of each product, in order; `prompt` instead of those of the configuration.

    A picture that is missing or can't be decoded costs its product the caption, nothing else.
    Raises: InputError for an encoder that is no BLIP.
    """
    section = config.caption
    style = Style(**section.model_dump(include={field.name for field in fields(Style)}))
    waiting = iter(products)
    while chunk := list(islice(waiting, section.batch)):
        prompts = [prompt if prompt is not None else prompt_for(section, r.category) for r in chunk]
        pictures = [_picture(config, store, record) for record in chunk]
        written = _write(encoder, style, pictures, prompts)
        for row, (record, begun) in enumerate(zip(chunk, prompts, strict=True)):
            plain = Captioned(record.product_id, record.title, category_path(record.category), begun)
            picture = pictures[row]
            extra = {"reason": picture} if isinstance(picture, str) else written[row]
            yield Captioned(**{**asdict(plain), **extra})
        advance(len(chunk))


def prompt_for(section: Section, category: Sequence[str]) -> str:
    """The prompt of the narrowest level of a category that has one, else the common one."""
    paths = [category_path(category[:depth]) for depth in range(len(category), 0, -1)]
    return next((section.prompts[path] for path in paths if path in section.prompts), section.prompt)


def write_captions(captions: Sequence[Captioned], path: Path) -> None:
    """Write captions to a .json (a list of objects) or a .parquet (schema CAPTION), whole or not at all."""
    check_name(path)
    rows = [asdict(one) for one in captions]
    if path.suffix == ".parquet":
        replace_file(path, parquet.to_bytes(pa.Table.from_pylist(rows, schema=CAPTION)))
    else:
        replace_file(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")


def check_name(path: Path) -> None:
    """Raise InputError unless captions can be written to a file of that name."""
    if path.suffix not in (".json", ".parquet"):
        raise InputError(f"{path}: want a name that ends in .json or .parquet")


def _picture(config: Config, store: Store, record: Record) -> Image.Image | str:
    """A product's picture, or why there is none."""
    data = store.picture(record.image_hash)
    if data is None:
        return record.image_reason or "none"
    try:
        return decode(data, config.images.max_pixels)
    except BadImage as bad:
        return bad.reason


def _write(
    encoder: Encoder, style: Style, pictures: Sequence[Image.Image | str], prompts: Sequence[str]
) -> dict[int, dict[str, Any]]:
    """Captions by row; rows of one prompt are written together."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, prompt in enumerate(prompts):
        if not isinstance(pictures[row], str):
            rows_of[prompt].append(row)
    written: dict[int, dict[str, Any]] = {}
    for prompt, rows in rows_of.items():
        shown = [picture for row in rows if not isinstance(picture := pictures[row], str)]
        made = caption_pictures(encoder, shown, style, prompt)
        for row, one in zip(rows, made, strict=True):
            written[row] = {"caption": one.text, "log_probability": one.log_probability}
    return written
