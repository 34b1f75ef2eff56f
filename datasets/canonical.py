"""Rows of a foreign table to rows of `PRODUCT`: first what decides if a row is accepted, then the rest."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets import columns
from mmprod.datasets.columns import Mask
from mmprod.datasets.mapping import Sources
from mmprod.datasets.schemas import PRODUCT, TIME

REASONS = (
    "",  # accepted
    "id_missing",
    "id_too_long",
    "id_not_text",
    "id_control_character",
    "id_scientific",
    "time_unreadable",
    "time_in_future",
    "sales_unreadable",
    "deleted_unreadable",
)
_CONVERT: dict[str, Callable[[pa.Array], tuple[pa.Array, Mask]]] = {
    "sales": columns.integers,
    "deleted": columns.flags,
}
_WEB = r"^(?i:https?)://"


class Checked(NamedTuple):
    """The columns that decide on a row, converted, and its refusal as a place in REASONS, 0 for none."""

    values: dict[str, pa.Array]
    refusal: npt.NDArray[np.int8]


def check(batch: pa.RecordBatch, sources: Sources, latest: datetime) -> Checked:
    """Convert and check the columns in `mapping.CHECKED`; times after `latest` are refused."""
    found = {name: batch.column(source) for name, source in sources.columns.items()}
    values: dict[str, pa.Array] = {}
    values["product_id"], bad = columns.ids(found["product_id"])
    if "updated_at" in found:
        times, bad["time_unreadable"] = columns.times(found["updated_at"])
        bad["time_in_future"] = columns.mask(pc.greater(times, pa.scalar(latest, TIME)))
        values["updated_at"] = times
    for name, convert in _CONVERT.items():
        if name in found:
            values[name], bad[f"{name}_unreadable"] = convert(found[name])
    refusal = np.zeros(batch.num_rows, dtype=np.int8)
    for reason, rows in bad.items():
        refusal[rows & (refusal == 0)] = REASONS.index(reason)
    return Checked(values, refusal)


def complete(batch: pa.RecordBatch, sources: Sources, checked: dict[str, pa.Array]) -> pa.RecordBatch:
    """The batch with the schema PRODUCT, the columns already converted taken over."""
    found = {name: batch.column(source) for name, source in sources.columns.items()}
    values = dict(checked)
    if "title" in found:
        values["title"] = columns.texts(found["title"])
    for name in ("image_path", "image_url", "spu_id", "brand"):
        if name in found:
            values[name] = columns.filled_texts(found[name])
    if "image" in found:
        for name, delivered in _pictures(found["image"]).items():
            values[name] = pc.coalesce(values[name], delivered) if name in values else delivered
    if sources.category:
        values["category"] = columns.joined_lists([batch.column(name) for name in sources.category])
    elif "category" in found:
        values["category"] = columns.level_lists(found["category"])
    if sources.attributes:
        cells = [batch.column(name) for name in sources.attributes]
        values["attributes"] = columns.joined_maps(sources.attributes, cells)
    elif "attributes" in found:
        values["attributes"] = found["attributes"].cast(PRODUCT.field("attributes").type)
    arrays = [values.get(field.name, pa.nulls(batch.num_rows, field.type)) for field in PRODUCT]
    return pa.RecordBatch.from_arrays(arrays, schema=PRODUCT)


def _pictures(column: pa.Array) -> dict[str, pa.Array]:
    """What an image column holds: bytes, paths and addresses."""
    if pa.types.is_struct(column.type):
        parts = dict(zip((part.name for part in column.type), column.flatten(), strict=True))
        image = parts["bytes"].cast(pa.binary())
        if "path" not in parts:
            return {"image": image}
        # Beside the bytes, a path is only the name they once had.
        path = pc.if_else(image.is_valid(), pa.scalar(None, pa.string()), columns.filled_texts(parts["path"]))
        return {"image": image, "image_path": path}
    if not columns.is_text(column.type):
        return {"image": column.cast(pa.binary())}
    place = columns.filled_texts(column)
    web = pc.match_substring_regex(place, _WEB)
    nothing = pa.scalar(None, pa.string())
    return {"image_path": pc.if_else(web, nothing, place), "image_url": pc.if_else(web, place, nothing)}
