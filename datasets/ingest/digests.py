"""64-bit digests of a batch's rows, computed by column: equal rows are found without converting them.

Two digests a row: of its lasting fields with title and picture, and of its volatile ones. They are compared
with those of the same product's delivery in force only, so a collision (probability 2**-64 a comparison)
would hide one change of one product for a day. A digest is XXH3-64 over the row's texts, one after the other,
seeded by the sum of their lengths, each times a constant of its column and place, so that ("ab", "c") and
("a", "bc") differ.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from mmprod.datasets.text import FORM

Numbers = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_TEXTS = ("title", "spu_id", "brand", "image_path", "image_url")
_LISTS = ("category", "pictures", "categories")
_VERSION = xxh3_64_intdigest(f"1 {FORM}".encode())
"""Changes when equal rows may give other content than before, as with another normal form of titles."""


class RowDigests(NamedTuple):
    """Of a batch's rows: the digests, uint64 [n] each, never 0, and the volatile attributes, a map column."""

    lasting: Numbers
    volatile: Numbers
    attributes: pa.Array


def row_digests(batch: pa.RecordBatch, volatile: Collection[str]) -> RowDigests:
    """The digests of rows of schema PRODUCT; `volatile` names the volatile attributes."""
    texts, seeds = list[pa.Array](), np.full(batch.num_rows, _VERSION, np.uint64)
    for name in _TEXTS:
        _add(batch.column(name), name, texts, seeds)
    for name in _LISTS:
        _add_lists(batch.column(name), name, texts, seeds)
    lasting, moving = _split(batch.column("attributes"), volatile)
    _add_maps(lasting, "attributes", texts, seeds)
    image = batch.column("image").cast(pa.large_binary())
    seeds += _lengths(image) * _constant("image")
    found = _hash(texts, seeds, _pieces(image))
    return RowDigests(found, _volatile(batch.column("sales"), moving), moving)


def _volatile(sales: pa.Array, attributes: pa.Array) -> Numbers:
    numbers = sales.fill_null(-(2**63)).to_numpy().view(np.uint64)
    texts, seeds = list[pa.Array](), _mixed(numbers + np.uint64(1))
    _add_maps(attributes, "volatile", texts, seeds)
    if not texts:
        return _nonzero(seeds)
    return np.where(_counts(attributes) > 0, _hash(texts, seeds, [b""] * len(sales)), _nonzero(seeds))


def _hash(texts: list[pa.Array], seeds: Numbers, pictures: Iterable[memoryview | bytes]) -> Numbers:
    if not texts:
        texts = [pa.array([b""] * len(seeds), pa.large_binary())]
    joined = pc.binary_join_element_wise(*texts, pa.scalar(b"", pa.large_binary()))
    found = (
        xxh3_64_intdigest(picture, xxh3_64_intdigest(text, seed))
        for text, seed, picture in zip(_pieces(joined), seeds.tolist(), pictures, strict=True)
    )
    return _nonzero(np.fromiter(found, np.uint64, len(seeds)))


def _pieces(column: pa.Array) -> Iterator[memoryview | bytes]:
    """The bytes of each value of a large_binary column without copying them; empty for null."""
    _, offsets, data = column.buffers()
    if data is None:
        return iter([b""] * len(column))
    view = memoryview(data)
    ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1].tolist()
    return (view[start:end] for start, end in itertools.pairwise(ends))


def _add(column: pa.Array, name: str, texts: list[pa.Array], seeds: Numbers) -> None:
    if column.null_count < len(column):
        column = column.cast(pa.large_binary())
        seeds += _lengths(column) * _constant(name)
        texts.append(column.fill_null(b""))


def _add_lists(column: pa.Array, name: str, texts: list[pa.Array], seeds: Numbers) -> None:
    if column.null_count < len(column):
        values = column.flatten().cast(pa.large_binary())
        _add_values(column, values, _lengths(values), name, texts, seeds)


def _add_maps(column: pa.Array, name: str, texts: list[pa.Array], seeds: Numbers) -> None:
    if column.null_count < len(column):
        keys, items = (part.cast(pa.large_binary()) for part in _pairs(column))
        lengths = _lengths(keys) * _constant("key") + _lengths(items)
        values = pc.binary_join_element_wise(keys, items.fill_null(b""), pa.scalar(b"", pa.large_binary()))
        _add_values(column, values, lengths, name, texts, seeds)


def _add_values(
    column: pa.Array, values: pa.Array, lengths: Numbers, name: str, texts: list[pa.Array], seeds: Numbers
) -> None:
    """Add the values of a list column, given flat, with the sum of their lengths times a constant a place."""
    counts = _counts(column)
    ends = np.concatenate([[0], counts.cumsum()])
    places = np.arange(len(values), dtype=np.uint64) - np.repeat(ends[:-1].astype(np.uint64), counts)
    weighted = np.concatenate([np.zeros(1, np.uint64), (lengths * _mixed(places + _constant(name))).cumsum()])
    seeds += weighted[ends[1:]] - weighted[ends[:-1]]
    lists = pa.LargeListArray.from_arrays(pa.array(ends), values.fill_null(b""))
    texts.append(pc.binary_join(lists, pa.scalar(b"", pa.large_binary())))


def _split(attributes: pa.Array, names: Collection[str]) -> tuple[pa.Array, pa.Array]:
    """The map column's lasting entries and its volatile ones, as two map columns."""
    nothing = pa.nulls(len(attributes), attributes.type)
    if attributes.null_count == len(attributes) or not names:
        return attributes, nothing
    keys, items = _pairs(attributes)
    chosen = pc.is_in(keys, pa.array(sorted(names))).to_numpy(zero_copy_only=False)
    if not chosen.any():
        return attributes, nothing
    row = np.repeat(np.arange(len(attributes)), _counts(attributes))
    return tuple(_maps(keys, items, row, mask, len(attributes)) for mask in (~chosen, chosen))


def _maps(keys: pa.Array, items: pa.Array, row: Indices, mask: Mask, rows: int) -> pa.Array:
    """A map column of `rows` rows from the entries in `mask`, the entry i being of row ``row[i]``."""
    offsets = np.concatenate([[0], np.bincount(row[mask], minlength=rows).cumsum()]).astype(np.int32)
    chosen = pa.array(mask)
    return pa.MapArray.from_arrays(pa.array(offsets), keys.filter(chosen), items.filter(chosen))


def _pairs(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Keys and items of a map column's rows, flat, without those of other rows of a sliced array."""
    lists = column.cast(pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())])))
    keys, items = lists.flatten().flatten()
    return keys, items


def _counts(column: pa.Array) -> Indices:
    """The number of values in each list or map; 0 for null."""
    kind = column.type
    if pa.types.is_map(kind):
        column = column.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
    found: Indices = pc.list_value_length(column).fill_null(0).to_numpy().astype(np.int64)
    return found


def _lengths(column: pa.Array) -> Numbers:
    """1 more than the length of each value in bytes, 0 for null."""
    lengths = pc.add(pc.binary_length(column), 1).fill_null(0)
    found: Numbers = lengths.to_numpy(zero_copy_only=False).astype(np.uint64)
    return found


def _constant(name: str) -> np.uint64:
    return np.uint64(xxh3_64_intdigest(name.encode()) | 1)


def _mixed(numbers: Numbers) -> Numbers:
    """SplitMix64 (Steele, Lea, Flood 2014), a bijection of 64-bit numbers."""
    mixed = (numbers + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _nonzero(numbers: Numbers) -> Numbers:
    return np.maximum(numbers, np.uint64(1))
