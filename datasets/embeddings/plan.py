"""What is to be done about changed products: a pure function of the changes and the rows that are known."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mmprod.datasets.embeddings.table import Row
from mmprod.datasets.identity import EMPTY
from mmprod.datasets.store.record import Record
from mmprod.datasets.store.store import Changed

OUT_OF_MEMORY = "out_of_memory"
"""Why a picture has no vector where this machine had no memory: not its own fault, so it is tried again."""

Vectors = Mapping[bytes, np.ndarray]
"""Vectors that the encoder has made before, float16 [d], by the hash of the picture or the title."""


@dataclass(frozen=True)
class Job:
    """A product whose row in the embedding table is due.

    `kept_image` and `kept_text` are float16 [d] vectors already made from the same picture and title;
    where one is given, `picture` or `title` is not looked at. `picture` may also be where to get it: it is
    asked for when it is decoded, so that a batch of files need not be held.
    """

    product_id: str
    live: bool
    image_hash: bytes | None
    text_hash: bytes | None
    picture: bytes | Callable[[], bytes | None] | None = None
    title: str | None = None
    image_reason: str | None = None
    kept_image: np.ndarray | None = None
    kept_text: np.ndarray | None = None


def due(
    changed: Sequence[Changed], rows: Mapping[str, Row], inside: Collection[str], failed: Collection[str]
) -> list[Changed]:
    """Those of the products whose row is not as it should be, or whose picture `failed` and is tried again.

    `rows`: the table's, by product; `inside`: the products that are to be live in it.
    """
    return [
        change
        for change in changed
        if change.product_id in failed
        or not _is_right(change, rows.get(change.product_id), change.product_id in inside)
    ]


def plan(
    changed: Sequence[Changed],
    records: Sequence[Record | None],
    rows: Mapping[str, Row],
    inside: Collection[str],
    failed: Collection[str],
    images: Vectors,
    texts: Vectors,
    picture: Callable[[bytes], bytes | None],
) -> list[Job]:
    """A job for each of the products that are `due`, with their records in the same order.

    A picture that this encoder has met and could not encode is not tried again, unless it is one of `failed`.
    `picture` gives a picture's bytes by its hash, when it is decoded.
    """
    jobs = []
    for change, record in zip(changed, records, strict=True):
        row = rows.get(change.product_id)
        if row and change.product_id not in inside:
            jobs.append(_removal(row))
        elif record:
            tried = row is not None and row.image_hash == change.image_hash and row.product_id not in failed
            known = images.get(change.image_hash)
            jobs.append(
                Job(
                    change.product_id,
                    live=True,
                    image_hash=_hash(change.image_hash),
                    text_hash=_hash(change.text_hash),
                    picture=None if known is not None or tried else partial(picture, change.image_hash),
                    title=record.title,
                    image_reason=row.image_reason if row and tried else record.image_reason,
                    kept_image=known,
                    kept_text=texts.get(change.text_hash),
                )
            )
    return jobs


def _is_right(change: Changed, row: Row | None, live: bool) -> bool:
    if row is None:
        return not live
    same = (row.image_hash, row.text_hash) == (_hash(change.image_hash), _hash(change.text_hash))
    return row.live == live and (same or not live)


def _removal(row: Row) -> Job:
    """A removed product keeps its vectors, should it come back."""
    return Job(
        row.product_id,
        live=False,
        image_hash=row.image_hash,
        text_hash=row.text_hash,
        image_reason=row.image_reason,
        kept_image=row.image,
        kept_text=row.text,
    )


def _hash(content: bytes) -> bytes | None:
    return None if content == EMPTY else content
