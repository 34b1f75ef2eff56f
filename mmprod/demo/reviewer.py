"""A reviewer who knows the truth and errs now and then: the sample marketplace's stand-in for people."""

import numpy as np
import pyarrow as pa

from mmprod.datasets.errors import InputError


def simulated_reviewer(pairs: pa.Table, truth: pa.Table, error_rate: float, seed: int) -> list[bool]:
    """For each of `pairs` (schema PAIR): do both products show the same item of `truth` (schema TRUTH)?

    Each answer is wrong with probability `error_rate`, independently, by `seed`.
    Raises: InputError for a rate outside 0 … 1 and for products that `truth` does not know.
    """
    if not 0 <= error_rate <= 1:
        raise InputError(f"error_rate={error_rate}: want a probability between 0 and 1")
    items = dict(zip(truth["product_id"].to_pylist(), truth["item_id"].to_pylist(), strict=True))
    asked = list(zip(pairs["anchor_id"].to_pylist(), pairs["product_id"].to_pylist(), strict=True))
    unknown = sorted({id_ for pair in asked for id_ in pair} - items.keys())
    if unknown:
        raise InputError(
            f"{len(unknown)} products are not in the truth table, first: {', '.join(unknown[:3])}"
        )
    errs = np.random.default_rng(seed).random(len(asked)) < error_rate
    return [
        (items[anchor] == items[other]) != bool(err) for (anchor, other), err in zip(asked, errs, strict=True)
    ]
