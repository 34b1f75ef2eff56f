"""Text queries with known answers: what the picture must show for a product to be relevant."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest
from typing import Any

import numpy as np
import pyarrow as pa

from mmprod.demo.items import Item
from mmprod.demo.vocabulary import CHINESE, COLOURS, KINDS, PATTERNS, STYLES

QUERY = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),  # en or zh
        pa.field("types", pa.list_(pa.string()), nullable=False),  # any of these
        pa.field("colour", pa.string()),  # null: any
        pa.field("pattern", pa.string()),
        pa.field("style", pa.string()),
    ]
)
LEAST = 5  # relevant products a query must have

_FAMILIES: dict[tuple[str, ...], tuple[str, str]] = {
    ("table lamp", "floor lamp"): ("living-room lamp", "客厅灯"),
    ("handbag", "backpack"): ("bag", "包"),
    ("chair", "sofa"): ("seat", "座椅"),
    ("mug", "teapot"): ("tea ware", "茶具"),
    ("T-shirt", "dress"): ("summer clothes", "夏装"),
}
_NOUNS = _FAMILIES | {(name,): (kind.english[0], kind.chinese[0]) for name, kind in KINDS.items()}

Wish = tuple[tuple[str, ...], str | None, str | None, str | None]  # types, colour, pattern, style

_FIRST: list[Wish] = [  # used whenever the catalogue has answers to them: good examples
    (("mug",), "red", "striped", None),
    (("dress",), "blue", "dotted", None),
    (("table lamp", "floor lamp"), None, None, "minimalist"),
]


def make_queries(shown: Iterable[Item], seed: int, count: int = 40) -> pa.Table:
    """Up to `count` queries in schema QUERY, two in seven Chinese, each met by at least `LEAST` of `shown`.

    `shown`: the item of every product with a usable picture, once per product. Kinds of queries alternate:
    colour and type; colour, pattern and type; pattern and type; style and family.
    """
    items = Counter(shown)
    rng = np.random.default_rng([seed, 4])
    forms = [[wish for wish in wishes if _answers(items, wish) >= LEAST] for wishes in _forms()]
    mixed = [[wishes[at] for at in rng.permutation(len(wishes))] for wishes in forms]
    first = [wish for wish in _FIRST if _answers(items, wish) >= LEAST]
    turns = dict.fromkeys([*first, *(wish for turn in zip_longest(*mixed) for wish in turn if wish)])
    rows = [_row(wish, chinese=at % 7 in (2, 5)) for at, wish in enumerate(islice(turns, count))]
    return pa.Table.from_pylist(rows, schema=QUERY)


def relevant_products(queries: pa.Table, truth: pa.Table) -> list[set[str]]:
    """For each query (schema QUERY) the ids of the products in `truth` that its conditions fit."""
    products = truth.select(["product_id", "type", "colour", "pattern", "style"]).to_pylist()
    return [{row["product_id"] for row in products if _fits(row, query)} for query in queries.to_pylist()]


def _fits(product: dict[str, str], query: dict[str, Any]) -> bool:
    traits = all(query[key] in (None, product[key]) for key in ("colour", "pattern", "style"))
    return traits and product["type"] in query["types"]


def _answers(items: Counter[Item], wish: Wish) -> int:
    return sum(count for item, count in items.items() if _meets(item, wish))


def _meets(item: Item, wish: Wish) -> bool:
    types, *wanted = wish
    own = (item.colour, item.pattern, item.style)
    fits = all(want in (None, trait) for want, trait in zip(wanted, own, strict=True))
    return fits and (not types or item.type in types)


def _forms() -> Iterator[list[Wish]]:
    types = [(name,) for name in KINDS]
    printed = PATTERNS[1:]
    yield [(type_, colour, None, None) for type_ in types for colour in COLOURS]
    yield [(type_, colour, pattern, None) for type_ in types for colour in COLOURS for pattern in printed]
    yield [(type_, None, pattern, None) for type_ in types for pattern in printed]
    yield [(family, None, None, style) for family in _FAMILIES for style in STYLES]


def _row(wish: Wish, chinese: bool) -> dict[str, object]:
    types, colour, pattern, style = wish
    noun = _NOUNS[types][chinese]
    words = [word for word in (style, colour, pattern) if word]
    if chinese:
        query = "".join(CHINESE[word] for word in words) + noun
    else:
        query = " ".join(f"{word} style" if word == style else word for word in words) + f" {noun}"
    traits = {"colour": colour, "pattern": pattern, "style": style}
    return {"query": query, "language": "zh" if chinese else "en", "types": list(types), **traits}
