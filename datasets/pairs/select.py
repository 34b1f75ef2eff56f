"""Selection of products to train on, by category, activity and sales."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.pairs.options import Selection
from mmprod.datasets.pairs.pairs import REJECTED, Sifted, numbers, sift
from mmprod.storage.errors import InputError


def select(table: pa.Table, selection: Selection) -> Sifted:
    """Select `CANDIDATE` rows; reasons ``category``, ``inactive`` (days) and ``low_sales`` (products sold).

    Raises: InputError when a configured category has no product.
    """
    rejected = []
    for rule in (_category, _activity, _sales):
        table, out = rule(table, selection)
        rejected.append(out)
    return table, pa.concat_tables(rejected)


def cap(table: pa.Table, selection: Selection) -> Sifted:
    """Keep `max_per_category` rows of each category; reason ``over_cap`` with the rank in the category.

    Rows are ranked by a hash of seed and id, so a new product displaces at most one other.
    """
    if selection.max_per_category is None:
        return table, REJECTED.empty_table()
    group = groups(table, selection.level)
    share = np.array([fraction(name, f"cap {selection.seed}") for name in table["product_id"].to_pylist()])
    order = np.lexsort((share, group))
    starts = np.searchsorted(group[order], group[order])
    place = np.empty(len(order))
    place[order] = np.arange(len(order)) - starts + 1
    return sift(table, place > selection.max_per_category, "over_cap", place)


def fraction(name: str, purpose: str) -> float:
    """A pseudo-random number in [0, 1) that depends only on the name and the purpose."""
    return int.from_bytes(hashlib.sha256(f"{purpose} {name}".encode()).digest()[:7]) / 2**56


def groups(table: pa.Table, level: int) -> np.ndarray:
    """The number of each row's category, int64 [n]; a category is the first `level` levels of the path."""
    paths = (" > ".join(path.split(" > ")[:level]) for path in table["category"].to_pylist())
    return numbers(pa.array(paths, pa.string()))


def _category(table: pa.Table, selection: Selection) -> Sifted:
    if not selection.categories:
        return table, REJECTED.empty_table()
    good = np.zeros(len(table), bool)
    for name in selection.categories:
        path = table["category"]
        found = pc.or_(pc.equal(path, name), pc.starts_with(path, f"{name} > ")).to_numpy()
        if not found.any():
            raise InputError(
                f"pairs.categories: no product with picture and title is in {name!r}; "
                f"there are {', '.join(sorted({p.split(' > ')[0] for p in path.to_pylist()})[:20])} and below"
            )
        good |= found
    return sift(table, ~good, "category")


def _activity(table: pa.Table, selection: Selection) -> Sifted:
    if selection.active_days is None or not len(table):
        return table, REJECTED.empty_table()
    day = table["active_day"].cast(pa.int32()).to_numpy()
    idle = (day.max() - day).astype(float)
    return sift(table, idle > selection.active_days, "inactive", idle)


def _sales(table: pa.Table, selection: Selection) -> Sifted:
    if not selection.sales_quantile:
        return table, REJECTED.empty_table()
    sales, group = table["sales"].fill_null(0).to_numpy().astype(float), groups(table, selection.level)
    low = np.zeros(len(table), bool)
    order = np.argsort(group, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if len(rows):
            low[rows] = sales[rows] < np.quantile(sales[rows], selection.sales_quantile)
    return sift(table, low, "low_sales", sales)
