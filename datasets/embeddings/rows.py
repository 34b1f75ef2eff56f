"""Rows of an embedding table as Python objects, and what a query of Lance names them by."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mmprod.datasets.vectors import from_column


class Known(NamedTuple):
    """An existing vector, float16 [width], and the backend that made it; None if that was not recorded."""

    vector: np.ndarray
    backend: str | None


@dataclass(frozen=True)
class Row:
    """A product's row; vectors are float16 [width] or None."""

    product_id: str
    image_hash: bytes | None
    text_hash: bytes | None
    image: np.ndarray | None
    text: np.ndarray | None
    image_reason: str | None
    live: bool
    image_backend: str | None = None
    text_backend: str | None = None


def literals(hashes: Collection[bytes]) -> list[str]:
    """Hashes as Lance's SQL writes them."""
    return [f"X'{key.hex()}'" for key in hashes]


def quoted(ids: Sequence[str]) -> list[str]:
    """Ids as Lance's SQL writes them."""
    return ["'" + name.replace("'", "''") + "'" for name in ids]


def vector_of(row: dict[str, Any] | None, modality: str) -> bytes | None:
    """What identifies a live product's vector of a modality; None if it has none."""
    if row is None or not row["live"] or (modality == "image" and row["image_reason"] is not None):
        return None
    found: bytes | None = row[f"{modality}_hash"]
    return found


def rows_of(batch: pa.RecordBatch) -> Iterator[Row]:
    """The rows of a batch of `embedding_schema`."""
    image, has_image = from_column(batch["image"])
    text, has_text = from_column(batch["text"])
    plain = batch.drop_columns(["image", "text"]).to_pylist()
    for i, row in enumerate(plain):
        yield Row(**row, image=image[i] if has_image[i] else None, text=text[i] if has_text[i] else None)
