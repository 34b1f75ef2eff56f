"""The tables of mmprod as Arrow schemas. Names here are the names everywhere: code, docs, columns."""

from collections.abc import Iterable

import pyarrow as pa

from mmprod.storage.errors import InputError

TIME = pa.timestamp("us", tz="UTC")

PRODUCT = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("image", pa.binary()),  # encoded bytes as delivered; or
        pa.field("image_path", pa.string()),  # below the image root; or
        pa.field("image_url", pa.string()),
        pa.field("category", pa.list_(pa.string())),  # from the widest level to the narrowest
        pa.field("spu_id", pa.string()),
        pa.field("brand", pa.string()),
        pa.field("sales", pa.int64()),
        pa.field("updated_at", TIME),
        pa.field("deleted", pa.bool_()),  # true: the product is gone
        pa.field("attributes", pa.map_(pa.string(), pa.string())),
        pa.field("pictures", pa.list_(pa.string())),  # paths or addresses of further ones, in their order
        pa.field("categories", pa.list_(pa.string())),  # further paths, such as "Sale > Lamps"
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
        pa.field("text", pa.string(), nullable=False),  # that was searched for
        pa.field("within", pa.string(), nullable=False),  # the category searched in, "" for all
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),  # from 1
        pa.field("score", pa.float32(), nullable=False),
        pa.field("since", pa.date32(), nullable=False),  # found every time from this day on
    ]
)


def feature_schema(width: int) -> pa.Schema:
    """A live product as other systems take it: its vectors, float16[width], unit length, and its group."""
    vector = pa.list_(pa.float16(), width)
    return pa.schema(
        [
            pa.field("product_id", pa.string(), nullable=False),
            pa.field("image", vector),  # null where there is no usable picture
            pa.field("text", vector),
            pa.field("group_id", pa.string()),  # null for a product that no other is like
        ]
    )


KINDS = ("added", "picture", "title", "fields", "removed", "relisted", "stale", "quarantined")
"""What a day can do to a product. `unchanged` is counted, never listed."""

CHANGE = pa.schema(
    [
        pa.field("product_id", pa.string()),  # null only where the row had no usable id
        pa.field("day", pa.date32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # one of KINDS, or picture_rejected
        pa.field("reason", pa.string(), nullable=False),  # which parts changed, or why not accepted
        pa.field("source", pa.string(), nullable=False),  # file:row the change came from
    ]
)


def embedding_schema(width: int) -> pa.Schema:
    """A product's vectors under one encoder: float16[width], unit length, null where there is no input."""
    vector = pa.list_(pa.float16(), width)
    return pa.schema(
        [
            pa.field("product_id", pa.string(), nullable=False),
            pa.field("image_hash", pa.binary(16)),  # of the picture `image` was made from
            pa.field("text_hash", pa.binary(16)),  # of the title `text` was made from
            pa.field("image", vector),
            pa.field("text", vector),
            pa.field("image_reason", pa.string()),  # why there is no image vector
            pa.field("live", pa.bool_(), nullable=False),  # a removed product keeps its vectors
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
        pa.field("image_score", pa.float32()),  # cosine; null where either side has no picture
        pa.field("text_score", pa.float32()),
    ]
)

ANCHOR = pa.schema(
    [
        pa.field("anchor_id", pa.string(), nullable=False),  # a product, or a text that was searched for
        pa.field("text", pa.string()),  # the text; null where the anchor is a product
        pa.field("category", pa.string(), nullable=False),  # its path, cut at the level of the survey
        pa.field("band", pa.string(), nullable=False),  # of sales
        pa.field("population", pa.int64(), nullable=False),  # anchors of its category and band there are
        pa.field("weight", pa.float64(), nullable=False),  # population / those of them in the sample
    ]
)

CANDIDATE = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),  # a profile, or whatever else found the product
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
        pa.field("pair_id", pa.string(), nullable=False),  # of both products and of what was shown of them
        pa.field("anchor_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),  # the best that any system gave it
        pa.field("rank_band", pa.int32(), nullable=False),  # the first rank of its band
        pa.field("weight", pa.float64(), nullable=False),  # anchor's pairs in the band / those asked about
    ]
)

QUESTION = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),  # what a sheet calls it
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("anchor_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),  # one of ROLES
        pa.field("reviewer", pa.string(), nullable=False),  # whose sheet it is on, "" for anyone's
    ]
)

ROLES = ("asked", "gold", "repeat")
"""Why a question is on a sheet: for the figures, or (its answer is known, it was asked before) to watch."""

JUDGEMENT = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("anchor_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("label", pa.bool_(), nullable=False),  # true: same
        pa.field("reviewer", pa.string(), nullable=False),
        pa.field("judged_at", TIME, nullable=False),
        pa.field("sheet", pa.string(), nullable=False),  # name of the file it came in
        pa.field("repeat", pa.bool_(), nullable=False),  # the second answer to a question asked twice
    ]
)

METRIC = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),  # "" for figures of no system
        pa.field("facet", pa.string(), nullable=False),  # one of FACETS
        pa.field("scope", pa.string(), nullable=False),  # "all", a category or a sales band
        pa.field("measure", pa.string(), nullable=False),  # "precision", "P@10", "AP@10", …
        pa.field("variant", pa.string(), nullable=False),  # how unjudged pairs count, "" where they don't
        pa.field("value", pa.float64(), nullable=False),
        pa.field("low", pa.float64()),  # 95 % interval, null where none is given
        pa.field("high", pa.float64()),
        pa.field("n", pa.int64(), nullable=False),  # pairs or anchors behind it
    ]
)

FACETS = ("all", "category", "sales")
"""What figures are given for: everything, each category, each sales band."""


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
    """Rows as dicts to one record batch of `schema`; missing keys are null."""
    return pa.RecordBatch.from_pylist(list(rows), schema=schema)


def category_path(levels: Iterable[str | None] | None) -> str:
    """Category levels as the one string used for filters and strata: ``"Home > Lighting > Lamps"``."""
    return " > ".join(level for level in levels or () if level)
