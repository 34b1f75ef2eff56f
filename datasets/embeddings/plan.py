"""Which changed products need a new row in the embedding table, from the changes and the existing rows."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mmprod.datasets.embeddings.rows import Known, Row
from mmprod.datasets.identity import EMPTY
from mmprod.datasets.store.record import Record
from mmprod.datasets.store.store import Changed

OUT_OF_MEMORY = "out_of_memory"
"""Reason of a picture that could not be encoded for lack of memory; it is tried again on the next run."""

Vectors = Mapping[bytes, Known]
"""Existing vectors of the encoder, by the hash of the picture or the title."""


@dataclass(frozen=True)
class Job:
    """A product whose row in the embedding table is out of date.

    `kept_image` and `kept_text` are existing float16 [d] vectors of the same picture and title; where one is
    given, `picture` or `title` is ignored; `image_backend` and `text_backend` made them. `picture` holds the
    bytes, or a function that returns them: it is called when the picture is decoded, so that a batch of files
    need not be in memory.
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
    image_backend: str | None = None
    text_backend: str | None = None


def outdated(
    changed: Sequence[Changed], rows: Mapping[str, Row], inside: Collection[str], failed: Collection[str]
) -> list[Changed]:
    """The products whose row is out of date, and those in `failed`, whose picture is to be tried again.

    `rows`: the table's rows by product id; `inside`: ids of the products that should be live in the table.
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
    """One job per product of `changed`, which `outdated` returned; `records` in the same order.

    A picture that this encoder could not encode before is not tried again, unless its product is in `failed`.
    `images` and `texts`: existing vectors. `picture`: returns a picture's bytes by its hash; called when the
    picture is decoded.
    """
    jobs = []
    for change, record in zip(changed, records, strict=True):
        row = rows.get(change.product_id)
        if row and change.product_id not in inside:
            jobs.append(_removal(row))
        elif record:
            tried = row is not None and row.image_hash == change.image_hash and row.product_id not in failed
            image, text = images.get(change.image_hash), texts.get(change.text_hash)
            jobs.append(
                Job(
                    change.product_id,
                    live=True,
                    image_hash=_hash(change.image_hash),
                    text_hash=_hash(change.text_hash),
                    picture=None if image is not None or tried else partial(picture, change.image_hash),
                    title=record.title,
                    image_reason=row.image_reason if row and tried else record.image_reason,
                    kept_image=image and image.vector,
                    kept_text=text and text.vector,
                    image_backend=image and image.backend,
                    text_backend=text and text.backend,
                )
            )
    return jobs


def _is_right(change: Changed, row: Row | None, live: bool) -> bool:
    if row is None:
        return not live
    same = (row.image_hash, row.text_hash) == (_hash(change.image_hash), _hash(change.text_hash))
    return row.live == live and (same or not live)


def _removal(row: Row) -> Job:
    """A removed product keeps its vectors, in case it comes back."""
    return Job(
        row.product_id,
        live=False,
        image_hash=row.image_hash,
        text_hash=row.text_hash,
        image_reason=row.image_reason,
        kept_image=row.image,
        kept_text=row.text,
        image_backend=row.image_backend,
        text_backend=row.text_backend,
    )


def _hash(content: bytes) -> bytes | None:
    return None if content == EMPTY else content
