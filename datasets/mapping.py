"""Which of a foreign table's columns is what, and whether it can be: settled before a row is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import pyarrow as pa

from mmprod.datasets.columns import is_text
from mmprod.datasets.errors import InputError
from mmprod.datasets.schemas import PRODUCT

CHECKED = ("product_id", "updated_at", "sales", "deleted")
"""The columns whose values can make a row be refused."""


@dataclass(frozen=True)
class TableSpec:
    """How to read a product table: the ``[table]`` section of the config.

    `columns` maps our names to the table's; equal names need no entry, and ``""`` says that the table has no
    such column. `category` names the table's level columns, widest first (or one column of lists, or of text
    like ``"Home > Lamps"``); `attributes` the columns to keep as attributes. `encoding` and `delimiter` are
    for CSV, found out when None.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    category: Sequence[str] = ()
    attributes: Sequence[str] = ()
    encoding: str | None = None
    delimiter: str | None = None


@dataclass(frozen=True)
class Sources:
    """Where each column of `PRODUCT` comes from: one column of the table, or several for the last two."""

    columns: Mapping[str, str]
    category: Sequence[str]
    attributes: Sequence[str]

    @property
    def all(self) -> list[str]:
        """Every column of the table that is read."""
        return list(dict.fromkeys([*self.columns.values(), *self.category, *self.attributes]))

    def only_checked(self) -> "Sources":
        """The few columns that decide whether a row is accepted."""
        return Sources({name: self.columns[name] for name in CHECKED if name in self.columns}, (), ())


def find_sources(schema: pa.Schema, spec: TableSpec, table: str) -> Sources:
    """Match the columns of a table with ours. `table` names it in messages.

    Raises: InputError for a column that is missing, repeated, or of a type that can't become ours.
    """
    _check_names(schema, spec, table)
    columns = {}
    for name in PRODUCT.names:
        source = spec.columns.get(name, name)
        if source in schema.names and not (name == "category" and spec.category):
            columns[name] = source
        elif name in ("product_id", "title") and source:
            raise _missing(schema, source, f"{table}: there is no column for {name}")
    category, attributes = list(spec.category), list(spec.attributes)
    if len(category) == 1:
        columns["category"] = category.pop()
    if attributes:
        columns.pop("attributes", None)
    _check_types(schema, columns, [*category, *attributes], table)
    return Sources(columns, category, attributes)


def _check_names(schema: pa.Schema, spec: TableSpec, table: str) -> None:
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise InputError(f"{table}: repeated columns {', '.join(repeated)}")
    unknown = sorted(set(spec.columns) - set(PRODUCT.names))
    if unknown:
        raise InputError(f"table.columns: {', '.join(unknown)} is none of {', '.join(PRODUCT.names)}")
    for source in (*spec.columns.values(), *spec.category, *spec.attributes):
        if source and source not in schema.names:
            raise _missing(schema, source, f"{table}: the config asks for column {source!r}")


def _missing(schema: pa.Schema, source: str, problem: str) -> InputError:
    near = get_close_matches(source, schema.names, n=1)
    hint = f" (is it {near[0]!r}?)" if near else ""
    return InputError(f"{problem}{hint}; the table has {', '.join(schema.names)}; map it in [table.columns]")


def _check_types(schema: pa.Schema, columns: Mapping[str, str], plain: Sequence[str], table: str) -> None:
    for name, source in columns.items():
        kind = schema.field(source).type
        fits, wanted = _WANTED.get(name, (_can_be_text, "text"))
        if not (fits(kind) or (pa.types.is_null(kind) and name != "product_id")):
            raise InputError(f"{table}: column {source!r} for {name} is {kind}, want {wanted}")
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
    "updated_at": (_is_moment, "timestamps, dates or ISO 8601 text"),
    "deleted": (_is_flag, "true and false, or 0 and 1"),
    "attributes": (_is_map, "a map from text to text"),
}
