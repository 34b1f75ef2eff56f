"""Conversion of a table's rows to schema `PRODUCT`: first the columns that decide on a row, then the rest."""

from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.schemas import PRODUCT, TIME
from mmprod.datasets.tables import columns, figures
from mmprod.datasets.tables.columns import Mask
from mmprod.datasets.tables.mapping import Live, Sources

REASONS = (
    "",  # accepted
    "id_missing",
    "id_too_long",
    "id_not_text",
    "id_control_character",
    "id_scientific",
    "time_in_future",
    "deleted_unreadable",
    "live_unreadable",
    "operation_unreadable",  # of change feeds, as the following ones
    "time_missing",
    "time_unreadable",
)
NAMED = {
    "deleted_unreadable": "deleted",
    "live_unreadable": "live",
    "operation_unreadable": "live",
    "time_unreadable": "updated_at",
}
"""Reasons that are followed by the refused value, and the column of that value."""
_PLACES = ("image_path", "image_url")
_WEB = r"^(?i:https?:)?//"


class Checked(NamedTuple):
    """The columns that decide on a row, converted, and each row's refusal as an index in REASONS, 0 for none.

    `unread` marks, by column, optional figures that can't be read: the figure is left out, the row is kept.
    `plain` marks ids that differ from the delivered ones (`columns.plain_ids`).
    """

    values: dict[str, pa.Array]
    refusal: npt.NDArray[np.int8]
    unread: dict[str, Mask]
    plain: Mask


def check(batch: pa.RecordBatch, sources: Sources, latest: datetime) -> Checked:
    """Convert and check the columns in `mapping.CHECKED`; times after `latest` are refused."""
    found = {name: batch.column(source) for name, source in sources.columns.items()}
    values: dict[str, pa.Array] = {}
    unread: dict[str, Mask] = {}
    values["product_id"], bad = columns.ids(found["product_id"])
    if "updated_at" in found:
        times, unreadable = figures.moments(found["updated_at"], sources.columns["updated_at"])
        if sources.changes:
            bad["time_unreadable"] = unreadable
            bad["time_missing"] = columns.mask(times.is_null()) & ~unreadable
        else:
            unread["updated_at"] = unreadable
        bad["time_in_future"] = columns.mask(pc.greater(times, pa.scalar(latest, TIME)))
        values["updated_at"] = times
    if "sales" in found:
        values["sales"], unread["sales"] = figures.integers(found["sales"])
    if sources.live:
        words = columns.filled_texts(batch.column(sources.live.column))
        values["deleted"], unknown = _gone(words, sources.live)
        if sources.parts:
            unknown &= columns.mask(words.is_valid())
        bad["operation_unreadable" if sources.changes else "live_unreadable"] = unknown
    if "deleted" in found:
        flags, bad["deleted_unreadable"] = figures.flags(found["deleted"])
        values["deleted"] = pc.or_kleene(values["deleted"], flags) if "deleted" in values else flags
    refusal = np.zeros(batch.num_rows, dtype=np.int8)
    for reason, rows in bad.items():
        refusal[rows & (refusal == 0)] = REASONS.index(reason)
    plain = columns.mask(pc.not_equal(values["product_id"], columns.texts(found["product_id"])))
    return Checked(values, refusal, unread, plain)


def _gone(words: pa.Array, live: Live) -> tuple[pa.Array, Mask]:
    """Which products the words of `live` mark as removed (null without a word); a mask of unknown words."""
    words = pc.utf8_lower(words)
    there = pc.is_in(words, pa.array([word.strip().lower() for word in live.values]))
    known = words.is_valid()
    if live.gone:
        known = pc.or_(there, pc.is_in(words, pa.array([word.strip().lower() for word in live.gone])))
    gone = pc.if_else(words.is_valid(), pc.invert(there), pa.scalar(None, pa.bool_()))
    return gone, columns.mask(pc.invert(known))


def complete(batch: pa.RecordBatch, sources: Sources, checked: dict[str, pa.Array]) -> pa.RecordBatch:
    """The batch in schema PRODUCT; `checked` holds the columns that are converted already."""
    found = {name: batch.column(source) for name, source in sources.columns.items()}
    values = dict(checked)
    if "title" in found:
        values["title"] = columns.texts(found["title"])
    if "brand" in found:
        values["brand"] = columns.unescaped(columns.filled_texts(found["brand"]))
    if "spu_id" in found:
        values["spu_id"] = columns.filled_texts(columns.plain_ids(found["spu_id"]))
    values |= _places(batch, found, sources)
    values |= _categories(batch, found, sources)
    if sources.attributes:
        cells = [columns.unescaped(columns.filled_texts(batch.column(name))) for name in sources.attributes]
        values["attributes"] = columns.joined_maps(sources.attributes, cells)
    elif "attributes" in found:
        values["attributes"] = found["attributes"].cast(PRODUCT.field("attributes").type)
    arrays = [values.get(field.name, pa.nulls(batch.num_rows, field.type)) for field in PRODUCT]
    return pa.RecordBatch.from_arrays(arrays, schema=PRODUCT)


def _categories(batch: pa.RecordBatch, found: dict[str, pa.Array], sources: Sources) -> dict[str, pa.Array]:
    """The category and, where a cell holds several, the further categories."""
    if sources.category:
        levels = [columns.unescaped(columns.filled_texts(batch.column(name))) for name in sources.category]
        return {"category": columns.joined_lists(levels)} | _further_categories(found, sources)
    if "category" not in found:
        return _further_categories(found, sources)
    separator = sources.separators.get("category")
    if separator is None or not columns.is_text(found["category"].type):
        return {"category": columns.level_lists(found["category"])} | _further_categories(found, sources)
    paths = columns.unescaped(columns.filled_texts(found["category"]))
    first, others = columns.first_and_others(columns.several(paths, separator))
    return {"category": columns.level_lists(first), "categories": others}


def _further_categories(found: dict[str, pa.Array], sources: Sources) -> dict[str, pa.Array]:
    if "categories" not in found:
        return {}
    return {"categories": columns.several(found["categories"], sources.separators.get("categories"))}


def _places(batch: pa.RecordBatch, found: dict[str, pa.Array], sources: Sources) -> dict[str, pa.Array]:
    """The picture and the further pictures; of several in a cell the first is the picture."""
    values: dict[str, pa.Array] = {}
    further: list[pa.Array] = []
    delivered = {name: found[name] for name in _PLACES if name in found}
    if "image" in found:
        for name, column in _pictures(found["image"], sources.separators.get("image")).items():
            if name == "pictures":
                further.append(column)
            elif name in delivered:
                delivered[name] = pc.coalesce(columns.filled_texts(delivered[name]), column)
            else:
                delivered[name] = column
    for name, column in delivered.items():
        separator = sources.separators.get(name)
        if name == "image" or separator is None:
            values[name] = column if name == "image" else columns.filled_texts(column)
            continue
        values[name], others = columns.first_and_others(columns.several(column, separator))
        further.append(others)
    between = sources.separators.get("pictures")
    further += [columns.several(batch.column(name), between) for name in sources.pictures]
    if "pictures" in found:
        further.append(columns.several(found["pictures"], between))
    return values | ({"pictures": columns.concatenated(further)} if further else {})


def _pictures(column: pa.Array, separator: str | None) -> dict[str, pa.Array]:
    """Split an image column into bytes, paths and addresses, and further pictures."""
    if pa.types.is_struct(column.type):
        parts = dict(zip((part.name for part in column.type), column.flatten(), strict=True))
        image = parts["bytes"].cast(pa.binary())
        if "path" not in parts:
            return {"image": image}
        # With the bytes given, the path is only their former file name.
        path = pc.if_else(image.is_valid(), pa.scalar(None, pa.string()), columns.filled_texts(parts["path"]))
        return {"image": image, "image_path": path}
    if not columns.is_text(column.type):
        return {"image": column.cast(pa.binary())}
    place, further = columns.filled_texts(column), {}
    if separator is not None:
        place, others = columns.first_and_others(columns.several(column, separator))
        further = {"pictures": others}
    web = pc.match_substring_regex(place, _WEB)
    nothing = pa.scalar(None, pa.string())
    path, url = pc.if_else(web, nothing, place), pc.if_else(web, place, nothing)
    return {"image_path": path, "image_url": url, **further}
