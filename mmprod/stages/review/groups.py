"""Reads groups of same items from files."""

from pathlib import Path

from mmprod.stages.review.external import read_columns
from mmprod.storage.errors import InputError

_COLUMNS = ("product_id", "group_id")


def read_groups(path: Path) -> dict[str, str]:
    """The group of each product, from CSV or Parquet with columns product_id and group_id.

    Raises: InputError for missing columns, empty cells, and a product that is in two groups.
    """
    table = read_columns(path, _COLUMNS)
    products, groups = (table.column(name).to_pylist() for name in _COLUMNS)
    found: dict[str, str] = {}
    for product, group in zip(products, groups, strict=True):
        if found.setdefault(product, group) != group:
            raise InputError(f"{path}: product {product!r} is in groups {found[product]!r} and {group!r}")
    return found
