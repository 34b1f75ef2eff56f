"""Mapping of a table's columns to schema `PRODUCT`, with checks of names and types, before rows are read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Literal

import pyarrow as pa

from mmprod.datasets.schemas import PRODUCT
from mmprod.datasets.tables import figures
from mmprod.datasets.tables.columns import is_text
from mmprod.datasets.tables.words import COLUMN, KEPT, REMOVED
from mmprod.storage.errors import InputError

_NEEDED = ("product_id", "title")
CHECKED = ("product_id", "updated_at", "sales", "deleted")
"""The columns that decide whether a row is accepted."""
SEPARATED = ("category", "categories", "image", "image_path", "image_url", "pictures")
"""The columns whose cells may hold several values."""


@dataclass(frozen=True)
class Live:
    """Declares which words of `column` mean that a product is live (`values`) or removed (`gone`).

    With an empty `gone`, every other word means removed; otherwise a row with a word in neither list is
    refused. Case and surrounding blanks don't matter.
    """

    column: str
    values: Sequence[str]
    gone: Sequence[str] = ()


@dataclass(frozen=True)
class TableSpec:
    """How to read a product table: the ``[table]`` section of the config.

    `columns` maps our names to the table's; equal names need no entry, and ``""`` means that the table has no
    such column. `category` names the table's level columns, widest first (or one column of lists, or
    of text like ``"Home > Lamps"``); `attributes` names the columns to keep as attributes, `pictures` those
    of further pictures. `separators` gives the separator of several values in a cell, by our column name
    (`SEPARATED`).

    `rows` defines the meaning of several rows with one id. "one": the newest row is the product.
    "first_non_empty": the rows together are the product; each cell takes the first non-empty value, and
    pictures of later rows become further pictures. None: as "one", but the table is refused when a newer row
    lacks a value that an older one has.

    `snapshot` "changes": the table is a change feed, whose rows are inserts, updates and deletes. Each needs
    a time, and of several rows of one id, the newest counts. `live` then names the words of operations.

    `options` are those of the library that reads a Delta Lake or Iceberg table.

    For CSV, detected when None: `encoding`, `delimiter` and `quote` (``""``: quotes are ordinary characters,
    the default with tabs). `skip_rows`: lines to skip, as line numbers from 1, or how many at the top.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    category: Sequence[str] = ()
    attributes: Sequence[str] = ()
    pictures: Sequence[str] = ()
    separators: Mapping[str, str] = field(default_factory=dict)
    live: Live | None = None
    rows: Literal["one", "first_non_empty"] | None = None
    snapshot: Literal["changes"] | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    skip_rows: int | Sequence[int] = 0

    @property
    def optional(self) -> list[str]:
        """The table's columns that the settings name, except those of ids and titles."""
        needed = {self.columns.get(name) for name in _NEEDED}
        named = [*self.columns.values(), *self.category, *self.attributes, *self.pictures]
        return [name for name in named if name and name not in needed]


def spec_of(settings: Mapping[str, Any]) -> TableSpec:
    """The spec of the settings of a section ``[table]``.

    The words of `operation` are those of `live` in a change feed, and are not used in other tables: a full
    table, to compare with, has no operations.
    """
    given = dict(settings)
    live, operation, snapshot = (given.pop(name) for name in ("live", "operation", "snapshot"))
    changes = snapshot == "changes"
    words = Live(**live) if live else None
    if changes and operation:
        words = operations(**operation)
    return TableSpec(**given, live=words, snapshot="changes" if changes else None)


def operations(column: str = COLUMN, removed: Sequence[str] = REMOVED, kept: Sequence[str] = KEPT) -> Live:
    """The words of a change feed's operations; a word in both lists removes."""
    gone = {word.strip().lower() for word in removed}
    return Live(column, [word for word in kept if word.strip().lower() not in gone], list(removed))


@dataclass(frozen=True)
class Sources:
    """The table columns from which each column of `PRODUCT` is made."""

    columns: Mapping[str, str]
    category: Sequence[str] = ()
    attributes: Sequence[str] = ()
    pictures: Sequence[str] = ()
    separators: Mapping[str, str] = field(default_factory=dict)
    live: Live | None = None
    parts: bool = False  # rows of one id are parts of one product (`TableSpec.rows` "first_non_empty")
    changes: bool = False  # the table is a change feed (`TableSpec.snapshot` "changes")

    @property
    def all(self) -> list[str]:
        """Every column of the table that is read; the id column comes first."""
        live = [self.live.column] if self.live else []
        return list(
            dict.fromkeys([*self.columns.values(), *self.category, *self.attributes, *self.pictures, *live])
        )

    def only_checked(self) -> "Sources":
        """Only the columns that decide whether a row is accepted."""
        found = {name: self.columns[name] for name in CHECKED if name in self.columns}
        return Sources(found, live=self.live, parts=self.parts, changes=self.changes)


def find_sources(schema: pa.Schema, spec: TableSpec, table: str) -> Sources:
    """Match the columns of a table with those of `PRODUCT`. `table` is its name for messages.

    Raises: InputError for a column that is missing, repeated, or of a type that can't be converted.
    """
    changes = spec.snapshot == "changes"
    if changes and not spec.live and COLUMN in schema.names:
        spec = replace(spec, live=operations())
    _check_names(schema, spec, table)
    columns = {}
    for name in PRODUCT.names:
        source = spec.columns.get(name, name)
        if source in schema.names and not (name == "category" and spec.category):
            columns[name] = source
        elif name in _NEEDED and source:
            raise _missing(schema, source, f"{table}: there is no column for {name}")
    category, attributes = list(spec.category), list(spec.attributes)
    if len(category) == 1:
        columns["category"] = category.pop()
    if attributes:
        columns.pop("attributes", None)
    if spec.live and not changes and columns.pop("deleted", None) and "deleted" in spec.columns:
        raise InputError(
            f"table.live and table.columns.deleted both say which products of {table} are gone: set only one"
        )
    if len(category) > 1 and "category" in spec.separators:
        raise InputError(
            f"table.separators.category is for one category column, not for {', '.join(category)}; remove it"
        )
    plain = [*category, *attributes, *([spec.live.column] if spec.live else [])]
    _check_types(schema, columns, plain, spec.pictures, table)
    if changes:
        _check_feed(columns, spec, table)
    parts = spec.rows == "first_non_empty"
    return Sources(columns, category, attributes, spec.pictures, spec.separators, spec.live, parts, changes)


def _check_feed(columns: Mapping[str, str], spec: TableSpec, table: str) -> None:
    if "updated_at" not in columns:
        raise InputError(
            f"{table} is read as a change feed (table.snapshot), and has no column updated_at, which tells "
            "which of several changes is the last; map it in [table.columns]"
        )
    if not spec.live and "deleted" not in columns:
        raise InputError(
            f"{table} is read as a change feed (table.snapshot), and no column says which rows remove "
            "products; name it in table.operation"
        )
    if spec.rows == "first_non_empty":
        raise InputError(
            "table.rows: in a change feed (table.snapshot), the newest row of an id is the product, so rows "
            'can\'t be parts of one; remove "first_non_empty"'
        )


def _check_names(schema: pa.Schema, spec: TableSpec, table: str) -> None:
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise InputError(f"{table}: repeated columns {', '.join(repeated)}")
    unknown = sorted(set(spec.columns) - set(PRODUCT.names))
    if unknown:
        raise InputError(f"table.columns: {', '.join(unknown)} is none of {', '.join(PRODUCT.names)}")
    odd = sorted(set(spec.separators) - set(SEPARATED))
    if odd:
        raise InputError(f"table.separators: {', '.join(odd)} is none of {', '.join(SEPARATED)}")
    live = [spec.live.column] if spec.live else []
    for source in (*spec.columns.values(), *spec.category, *spec.attributes, *spec.pictures, *live):
        if source and source not in schema.names:
            raise _missing(schema, source, f"{table} has no column {source!r}, which the configuration names")


def _missing(schema: pa.Schema, source: str, problem: str) -> InputError:
    near = get_close_matches(source, schema.names, n=1)
    hint = f" (is it {near[0]!r}?)" if near else ""
    return InputError(f"{problem}{hint}; the table has {', '.join(schema.names)}; map it in [table.columns]")


def _check_types(
    schema: pa.Schema, columns: Mapping[str, str], plain: Sequence[str], pictures: Sequence[str], table: str
) -> None:
    for name, source in columns.items():
        kind = schema.field(source).type
        fits, wanted = _WANTED.get(name, (_can_be_text, "text"))
        if name == "updated_at" and pa.types.is_integer(kind) and figures.unit_of(source):
            continue
        if not (fits(kind) or (pa.types.is_null(kind) and name != "product_id")):
            raise InputError(f"{table}: column {source!r} for {name} is {kind}, want {wanted}")
    for source in pictures:
        kind = schema.field(source).type
        if not (_is_levels(kind) or pa.types.is_null(kind)):
            raise InputError(
                f"{table}: column {source!r} of table.pictures is {kind}, want text or lists of it"
            )
    for source in plain:
        kind = schema.field(source).type
        if not (_is_scalar(kind) or pa.types.is_null(kind)):
            raise InputError(f"{table}: column {source!r} is {kind}, want text, numbers or dates")


def _can_be_text(kind: pa.DataType) -> bool:
    return is_text(kind) or bool(pa.types.is_integer(kind))


def _is_id(kind: pa.DataType) -> bool:
    return _can_be_text(kind) or bool(pa.types.is_decimal(kind) and kind.scale == 0)


def _is_number(kind: pa.DataType) -> bool:
    return _can_be_text(kind) or bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_moment(kind: pa.DataType) -> bool:
    return is_text(kind) or bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _is_flag(kind: pa.DataType) -> bool:
    return _is_number(kind) or bool(pa.types.is_boolean(kind))


def _is_scalar(kind: pa.DataType) -> bool:
    return _is_flag(kind) or _is_moment(kind)


def _is_levels(kind: pa.DataType) -> bool:
    return is_text(kind) or bool(
        (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and is_text(kind.value_type)
    )


def _is_map(kind: pa.DataType) -> bool:
    return bool(pa.types.is_map(kind) and is_text(kind.key_type) and _is_scalar(kind.item_type))


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _is_picture(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        parts = {part.name: part.type for part in kind}
        return _is_bytes(parts.get("bytes", pa.null())) and is_text(parts.get("path", pa.string()))
    return _is_bytes(kind) or is_text(kind)


_WANTED: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "product_id": (_is_id, "text or whole numbers (as numbers with a fraction, ids lose digits)"),
    "image": (_is_picture, "bytes, a struct of bytes and path, or text with a path or address"),
    "category": (_is_levels, "a list of text, or text like 'Home > Lamps'"),
    "sales": (_is_number, "numbers"),
    "updated_at": (_is_moment, "timestamps, dates, ISO 8601 text, or whole numbers in a column like ts_ms"),
    "deleted": (_is_flag, "true and false, or 0 and 1"),
    "attributes": (_is_map, "a map from text to text"),
    "pictures": (_is_levels, "a list of text, or text"),
    "categories": (_is_levels, "a list of text, or text"),
}
