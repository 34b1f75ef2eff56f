"""The tables of mmprod as Arrow schemas. Code, docs and files use these column names."""

from collections.abc import Iterable

import pyarrow as pa

from mmprod.storage.errors import InputError

TIME = pa.timestamp("us", tz="UTC")

PRODUCT = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("image", pa.binary()),  # the picture: encoded bytes as delivered; or
        pa.field("image_path", pa.string()),  # a path below the image root; or
        pa.field("image_url", pa.string()),
        pa.field("category", pa.list_(pa.string())),  # from the widest level to the narrowest
        pa.field("spu_id", pa.string()),
        pa.field("brand", pa.string()),
        pa.field("sales", pa.int64()),
        pa.field("updated_at", TIME),
        pa.field("deleted", pa.bool_()),  # true: the product is removed
        pa.field("attributes", pa.map_(pa.string(), pa.string())),
        pa.field("pictures", pa.list_(pa.string())),  # paths or addresses of further pictures, in order
        pa.field("categories", pa.list_(pa.string())),  # further category paths, such as "Sale > Lamps"
    ]
)

GROUP = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("group_id", pa.string(), nullable=False),  # the smallest product_id of its group
    ]
)

FOUND = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),  # the query
        pa.field("within", pa.string(), nullable=False),  # the category searched in, "" for all
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),  # from 1
        pa.field("score", pa.float32(), nullable=False),
        pa.field("since", pa.date32(), nullable=False),  # every run of the search since this day returned it
    ]
)


def feature_schema(width: int) -> pa.Schema:
    """A live product as exported for other systems: its vectors, float16[width], unit length, and group."""
    vector = pa.list_(pa.float16(), width)
    return pa.schema(
        [
            pa.field("product_id", pa.string(), nullable=False),
            pa.field("image", vector),  # null where there is no usable picture
            pa.field("text", vector),
            pa.field("group_id", pa.string()),  # null for a product that no other product resembles
        ]
    )


KINDS = ("added", "picture", "title", "fields", "removed", "relisted", "stale", "quarantined")
"""Kinds of change that a day can make to a product. `unchanged` is counted, never listed."""

CHANGE = pa.schema(
    [
        pa.field("product_id", pa.string()),  # null only when the row had no usable id
        pa.field("day", pa.date32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # one of KINDS, picture_rejected or figure_unread
        pa.field("reason", pa.string(), nullable=False),  # which parts changed, or why not accepted
        pa.field("source", pa.string(), nullable=False),  # file:row that caused the change
    ]
)


def embedding_schema(width: int) -> pa.Schema:
    """A product's vectors by one encoder: float16[width], unit length, null without picture or title."""
    vector = pa.list_(pa.float16(), width)
    return pa.schema(
        [
            pa.field("product_id", pa.string(), nullable=False),
            pa.field("image_hash", pa.binary(16)),  # of the picture that `image` was encoded from
            pa.field("text_hash", pa.binary(16)),  # of the title that `text` was encoded from
            pa.field("image", vector),
            pa.field("text", vector),
            pa.field("image_reason", pa.string()),  # why there is no image vector
            pa.field("live", pa.bool_(), nullable=False),  # a removed product keeps its vectors
            pa.field("image_backend", pa.string()),  # what made `image`, such as "openvino-bf16"; null where
            pa.field("text_backend", pa.string()),  # a version made the vector that did not record it
        ]
    )


ITEM = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),  # row i is vector i of the index
        pa.field("category", pa.string(), nullable=False),  # levels joined by " > ", "" when unknown
        pa.field("has_image", pa.bool_(), nullable=False),
        pa.field("has_text", pa.bool_(), nullable=False),
    ]
)

RECALL = pa.schema(
    [
        pa.field("anchor_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),  # from 1
        pa.field("score", pa.float32(), nullable=False),  # w_img * image_score + w_txt * text_score
        pa.field("image_score", pa.float32()),  # cosine; null when either product has no picture
        pa.field("text_score", pa.float32()),
    ]
)

ANCHOR = pa.schema(
    [
        pa.field("anchor_id", pa.string(), nullable=False),  # a product or a search text
        pa.field("text", pa.string()),  # the search text; null when the anchor is a product
        pa.field("category", pa.string(), nullable=False),  # its path, cut at the survey's category level
        pa.field("band", pa.string(), nullable=False),  # its sales band
        pa.field("population", pa.int64(), nullable=False),  # number of anchors in its category and band
        pa.field("weight", pa.float64(), nullable=False),  # population / number of those in the sample
    ]
)

CANDIDATE = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),  # the profile or other system that found the product
        pa.field("anchor_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),  # from 1, within system and anchor
        pa.field("score", pa.float32(), nullable=False),
        pa.field("image_score", pa.float32()),
        pa.field("text_score", pa.float32()),
    ]
)

PAIR = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),  # a hash of both products and their shown content
        pa.field("anchor_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),  # its best rank in any system
        pa.field("rank_band", pa.int32(), nullable=False),  # the first rank of its band
        pa.field("weight", pa.float64(), nullable=False),  # anchor's pairs in the band / those sampled
    ]
)

QUESTION = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),  # its name on a sheet
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("anchor_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),  # one of ROLES
        pa.field("reviewer", pa.string(), nullable=False),  # whose sheet it is on, "" for anyone's
    ]
)

ROLES = ("asked", "gold", "repeat")
"""Why a question is on a sheet: to be judged, or to check the reviewer: its answer is known (gold), or the
reviewer gets it twice (repeat)."""

JUDGEMENT = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("anchor_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("label", pa.bool_(), nullable=False),  # true: same
        pa.field("reviewer", pa.string(), nullable=False),
        pa.field("judged_at", TIME, nullable=False),
        pa.field("sheet", pa.string(), nullable=False),  # name of the label file that contained it
        pa.field("repeat", pa.bool_(), nullable=False),  # the second answer to a question asked twice
    ]
)

METRIC = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),  # "" for figures that belong to no system
        pa.field("facet", pa.string(), nullable=False),  # one of FACETS
        pa.field("scope", pa.string(), nullable=False),  # "all", a category or a sales band
        pa.field("measure", pa.string(), nullable=False),  # "precision", "P@10", "AP@10", …
        pa.field("variant", pa.string(), nullable=False),  # how unjudged pairs count, "" if irrelevant
        pa.field("value", pa.float64(), nullable=False),
        pa.field("low", pa.float64()),  # 95 % interval, null where none is given
        pa.field("high", pa.float64()),
        pa.field("n", pa.int64(), nullable=False),  # number of pairs or anchors it is computed from
    ]
)

FACETS = ("all", "category", "sales")
"""The breakdowns of a figure: over all, by category, by sales band."""


def check(table: pa.Table | pa.RecordBatch, schema: pa.Schema, name: str) -> None:
    """Raise InputError unless `table` has exactly the columns of `schema`, each of its type."""
    for field in schema:
        if field.name not in table.schema.names:
            found = ", ".join(table.schema.names)
            raise InputError(f"{name}: column {field.name!r} is missing; there are {found}")
        found = table.schema.field(field.name).type
        if found != field.type:
            raise InputError(f"{name}: column {field.name!r} is {found}, want {field.type}")
        if not field.nullable and table.column(field.name).null_count:
            raise InputError(f"{name}: column {field.name!r} has empty values")
    extra = set(table.schema.names) - set(schema.names)
    if extra:
        raise InputError(f"{name}: unknown columns {', '.join(sorted(extra))}")


def rows_to_batch(rows: Iterable[dict[str, object]], schema: pa.Schema) -> pa.RecordBatch:
    """Convert rows given as dicts to one record batch of `schema`; missing keys become null."""
    return pa.RecordBatch.from_pylist(list(rows), schema=schema)


def category_path(levels: Iterable[str | None] | None) -> str:
    """Category levels joined to the path used for filters and strata: ``"Home > Lighting > Lamps"``."""
    return " > ".join(level for level in levels or () if level)
