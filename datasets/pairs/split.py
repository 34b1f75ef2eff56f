"""The split into training pairs and held-out pairs, which share no item, picture or title."""

import numpy as np
import pyarrow as pa

from mmprod.datasets.pairs.pairs import HELD_OUT, TRAIN, identity
from mmprod.datasets.pairs.select import fraction


def split(pairs: pa.Table, held_out: float, seed: int) -> pa.Table:
    """Set the column `split`: about a share `held_out` of the pairs is HELD_OUT, the others TRAIN.

    Pairs linked by equal item, picture or title numbers, directly or through others, stay together. A hash of
    `seed` and their smallest product id decides their side, so new products move few of the others.
    `pairs`: schema `PAIR`, sorted by product_id.
    """
    labels = components(identity(pairs))
    names = pairs["product_id"].to_pylist()
    away = {row: fraction(names[row], f"split {seed}") < held_out for row in np.unique(labels).tolist()}
    column = pa.array([HELD_OUT if away[row] else TRAIN for row in labels.tolist()], pa.string())
    return pairs.set_column(pairs.schema.get_field_index("split"), pairs.schema.field("split"), column)


def components(identity: np.ndarray) -> np.ndarray:
    """The first row linked to each row, int64 [n]: rows are linked by an equal number (not -1) in a column.

    In each round every row takes the least label among the rows it shares a number with, then the label of
    that label, until nothing changes. Each round at least halves the distance to the first row of a chain.
    """
    labels = np.arange(len(identity))
    while True:
        before = labels.copy()
        for column in identity.T:
            known = column >= 0
            least = np.full(column.max(initial=-1) + 1, len(identity))
            np.minimum.at(least, column[known], labels[known])
            labels[known] = least[column[known]]
        labels = labels[labels]
        if np.array_equal(labels, before):
            return labels
