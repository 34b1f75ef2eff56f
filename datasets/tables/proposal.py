"""Proposed settings for a product table, from the column names that shops and their programs commonly use.

`mmprod table check` shows a proposal to the user. It has no effect unless it is written to the configuration.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_NAMES = {
    "product_id": (
        *("product_id", "id", "sku", "item_id", "handle", "outer_id", "num_iid", "variant sku", "article"),
        *("商品编码", "商家编码", "商品id", "货号", "产品编号"),
    ),
    "title": ("title", "name", "product name", "product title", "商品名称", "宝贝名称", "产品名称", "标题"),
    "image": (
        *("image_link", "image", "image src", "images", "image url", "image_url", "image_path", "photo"),
        *("picture", "主图", "主图链接", "图片", "商品图片", "宝贝图片", "新图片"),
    ),
    "category": ("product_type", "category", "categories", "product category", "类目", "分类", "商品分类"),
    "spu_id": ("item_group_id", "spu_id", "spu", "parent", "款号"),
    "brand": ("brand", "vendor", "manufacturer", "品牌"),
    "sales": ("sales", "sold", "total_sales", "月销量", "销量", "已售"),
    "updated_at": ("updated_at", "modified", "last_modified", "date modified", "修改时间", "更新时间"),
    "deleted": ("deleted", "is_deleted"),
}


@dataclass(frozen=True)
class Dialect:
    """A program's table format: the columns that identify it, and the `TableSpec` settings that fit it."""

    name: str
    columns: frozenset[str]
    settings: Mapping[str, Any] = field(default_factory=dict)


_DIALECTS = (
    Dialect(
        "Google Merchant",
        frozenset({"id", "title", "image_link", "availability"}),
        {
            "pictures": ["additional_image_link"],
            "separators": {"pictures": ",", "category": ","},
            "live": {"column": "availability", "values": ["in_stock", "in stock", "preorder", "backorder"]},
        },
    ),
    Dialect(
        "Shopify",
        frozenset({"handle", "title", "image src"}),
        {
            "columns": {"product_id": "Handle"},
            "rows": "first_non_empty",
            "live": {"column": "Published", "values": ["true"], "gone": ["false"]},
        },
    ),
    Dialect(
        "WooCommerce",
        frozenset({"sku", "name", "published", "categories", "images"}),
        {
            "columns": {"product_id": "SKU"},
            "separators": {"category": ",", "image": ","},
            "live": {"column": "Published", "values": ["1"], "gone": ["0", "-1"]},
        },
    ),
    Dialect(
        "Taobao", frozenset({"outer_id", "title", "picture", "cid"}), {"columns": {"product_id": "outer_id"}}
    ),
)


@dataclass(frozen=True)
class Proposal:
    """Proposed settings of the section ``[table]``, and the dialect's name, None if unknown."""

    dialect: str | None
    settings: dict[str, Any]


def propose(names: Sequence[str]) -> Proposal:
    """Propose settings for a table with these column names, without settings that no column fits."""
    by_name = {name.strip().casefold(): name for name in names}
    dialect = next((d for d in _DIALECTS if d.columns <= by_name.keys()), None)
    settings: dict[str, Any] = dict(dialect.settings) if dialect else {}
    columns = {ours: found for ours, known in _NAMES.items() if (found := _first(by_name, known))}
    settings["columns"] = columns | settings.get("columns", {})
    if "live" in settings and settings["live"]["column"] not in names:
        del settings["live"]
    if "live" in settings:
        settings["columns"].pop("deleted", None)
    settings["pictures"] = [name for name in settings.get("pictures", ()) if name in names]
    return Proposal(
        dialect.name if dialect else None, {key: value for key, value in settings.items() if value}
    )


def has_needed(names: Iterable[str]) -> bool:
    """Whether the names include a common name of the id column and one of the title column."""
    found = {name.strip().casefold() for name in names}
    return all(found.intersection(_NAMES[needed]) for needed in ("product_id", "title"))


def _first(by_name: Mapping[str, str], known: Iterable[str]) -> str | None:
    return next((by_name[name] for name in known if name in by_name), None)
