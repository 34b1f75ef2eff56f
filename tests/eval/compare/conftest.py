import numpy as np
import pyarrow as pa
import pytest

from mmprod.datasets.schemas import ANCHOR, CANDIDATE, PAIR
from mmprod.eval.judged import Judged


@pytest.fixture
def judged_of():
    """A survey from what each system finds: bool[anchors, k], whether the product at each rank is the same.

    The systems find different products, all of them judged. `stratum` gives each anchor's (category, band)
    and `weight` what it stands for; anchors are called a0000, …
    """

    def make(hits, stratum=None, weight=None):
        count = len(next(iter(hits.values())))
        stratum = stratum or [("lamps", "top")] * count
        weight = np.ones(count) if weight is None else np.asarray(weight, float)
        names = np.array([f"a{i:04d}" for i in range(count)])
        category, band = zip(*stratum, strict=True)
        population = [
            int(np.ceil(sum(w for w, s in zip(weight, stratum, strict=True) if s == one))) for one in stratum
        ]
        anchors = [names, pa.nulls(count, pa.string()), category, band, population, weight]
        parts, same = [], {}
        for system, found in hits.items():
            anchor, rank = (places.ravel() for places in np.indices(found.shape))
            product = np.char.add(np.char.add(names[anchor], f"/{system}/"), (rank + 1).astype(str))
            parts.append((np.full(len(anchor), system), names[anchor], product, rank + 1))
            same |= dict(zip(product.tolist(), found.ravel().tolist(), strict=True))
        system, anchor, product, rank = (np.concatenate(column) for column in zip(*parts, strict=True))
        none = pa.nulls(len(rank), pa.float32())
        ones = np.ones(len(rank))
        return Judged(
            table(anchors, ANCHOR),
            table([system, anchor, product, rank, 1 - rank / 100, none, none], CANDIDATE),
            table([product, anchor, product, rank, ones, ones], PAIR),
            same,
        )

    return make


def table(columns, schema):
    arrays = [pa.array(column).cast(field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)
