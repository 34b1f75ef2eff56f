from datetime import UTC, datetime

import pyarrow as pa
import pytest

from mmprod.datasets.schemas import METRIC
from mmprod.eval.compare.history import HISTORY, history
from mmprod.storage.errors import InputError


def metrics(*values):
    row = {"system": "s", "facet": "all", "scope": "all", "measure": "precision", "variant": "", "n": 1}
    return pa.Table.from_pylist([row | {"value": value} for value in values], schema=METRIC)


def test_evaluations_come_in_order_of_time_whatever_their_zone():
    found = history(
        [
            ("2025-03-08T01:00:00+08:00", metrics(0.3)),  # the day before in UTC
            ("2025-03-01T00:00:00+00:00", metrics(0.1, 0.2)),
            ("2025-03-07T18:00:00+00:00", metrics(0.4)),
        ]
    )
    assert found.schema == HISTORY and found["value"].to_pylist() == [0.1, 0.2, 0.3, 0.4]
    assert found["made_at"][2].as_py() == datetime(2025, 3, 7, 17, tzinfo=UTC)


def test_no_evaluation_is_an_empty_history():
    assert history([]).schema == HISTORY


@pytest.mark.parametrize("time", ["2025-03-01", "2025-03-01T06:00:00", "last week"])
def test_a_time_without_zone_or_sense_is_refused(time):
    with pytest.raises(InputError, match=f"'{time}' "):
        history([(time, metrics(0.1))])


def test_two_of_one_time_and_other_columns_are_refused():
    same = [("2025-03-01T06:00:00+00:00", metrics(0.1)), ("2025-03-01T08:00:00+02:00", metrics(0.2))]
    with pytest.raises(InputError, match="two evaluations have the same time, "):
        history(same)
    with pytest.raises(InputError, match="figures of 2025-03-01T06:00:00Z: column 'n' is missing"):
        history([("2025-03-01T06:00:00Z", metrics(0.1).drop_columns(["n"]))])
