"""Small recall tables with known truth, and the pairs sampled from them."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest

from mmprod.datasets.schemas import PAIR, RECALL
from mmprod.eval.sample import pair_id

RecallOf = Callable[..., pa.RecordBatch]


@pytest.fixture
def recall_of() -> RecallOf:
    def make(anchors: Sequence[str], depth: int) -> pa.RecordBatch:
        rows = [
            {"anchor_id": a, "product_id": f"{a}/{rank}", "rank": rank, "score": 1 - rank / 100}
            for a in anchors
            for rank in range(1, depth + 1)
        ]
        return pa.RecordBatch.from_pylist(rows, schema=RECALL)

    return make


@pytest.fixture
def pairs() -> pa.Table:
    """30 pairs whose ids are of every troublesome kind."""
    ids = [
        "0012345",
        "628000000000000",
        "1E5",
        "MAR1",
        "=1+1",
        "-7",
        "'quoted",
        "款式",
        "a,b",
        'c"d',
        "x y",
        "NA",
    ]
    rng = np.random.default_rng(5)
    rows = []
    for i in range(30):
        anchor, product = rng.choice(len(ids), 2, replace=False)
        names = f"{ids[anchor]}", f"{ids[product]}{i}"
        rows.append(
            {
                "pair_id": pair_id(*names),
                "anchor_id": names[0],
                "product_id": names[1],
                "rank": 1,
                "score": 0.5,
                "stratum": "s",
                "weight": 1.0,
            }
        )
    return pa.Table.from_pylist(rows, schema=PAIR)
