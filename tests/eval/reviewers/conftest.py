from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from mmprod.datasets.schemas import JUDGEMENT, TIME

START = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.fixture
def judgements():
    """Judgements from (pair, reviewer, label[, hour[, repeat]]); the anchor of pair "a3/x" is "a3"."""

    def make(*answers):
        rows = []
        for pair, reviewer, label, *rest in answers:
            hour, repeat = (*rest, *(0, False)[len(rest) :])
            anchor, _, product = pair.partition("/")
            rows.append(
                {
                    "pair_id": pair,
                    "anchor_id": anchor,
                    "product_id": product,
                    "label": bool(label),
                    "reviewer": reviewer,
                    "judged_at": START + timedelta(hours=hour),
                    "sheet": "s.csv",
                    "repeat": repeat,
                }
            )
        return pa.Table.from_pylist(rows, schema=JUDGEMENT)

    return make


@pytest.fixture
def random_judgements():
    """So many judgements by twelve reviewers who know nothing, a twentieth of them repeats."""

    def make(count):
        random = np.random.default_rng(0)
        pair = random.integers(0, count // 2, count)
        columns = {
            "pair_id": [f"p{number:020x}" for number in pair],
            "anchor_id": [f"a{number // 6}" for number in pair],
            "product_id": [f"b{number}" for number in pair],
            "label": random.random(count) < 0.6,
            "reviewer": [f"r{number}" for number in random.integers(0, 12, count)],
            "judged_at": pa.array(random.integers(0, 10**15, count)).cast(TIME),
            "sheet": ["sheet.csv"] * count,
            "repeat": random.random(count) < 0.05,
        }
        return pa.table(columns, schema=JUDGEMENT)

    return make
