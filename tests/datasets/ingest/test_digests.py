"""Digests of rows: equal exactly where the rows are, whatever else is in the batch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.datasets.ingest.digests import row_digests
from mmprod.datasets.schemas import PRODUCT, rows_to_batch

short = st.text("ab", max_size=2)
lists = st.none() | st.lists(short, max_size=3)
row = st.fixed_dictionaries(
    {
        "product_id": st.just("x"),
        "title": st.none() | short,
        "image": st.none() | st.binary(max_size=1),
        "image_path": st.none() | short,
        "image_url": st.none() | short,
        "category": lists,
        "spu_id": st.none() | short,
        "brand": st.none() | short,
        "sales": st.none() | st.integers(-1, 2),
        "attributes": st.none()
        | st.lists(st.tuples(st.sampled_from(["a", "b", "price", "stock"]), st.none() | short), max_size=3),
        "pictures": lists,
        "categories": lists,
    }
)
VOLATILE = ("price", "stock")


def lasting(row):
    texts = [row[name] for name in ("title", "image", "image_path", "image_url", "spu_id", "brand")]
    several = [tuple(row[name] or ()) for name in ("category", "pictures", "categories")]
    pairs = tuple(pair for pair in row["attributes"] or () if pair[0] not in VOLATILE)
    return (*texts, *several, pairs)


def moving(row):
    return row["sales"], tuple(pair for pair in row["attributes"] or () if pair[0] in VOLATILE)


@given(st.lists(row, min_size=1, max_size=8), st.data())
def test_digests_are_equal_where_rows_are(rows, data):
    batch = rows_to_batch(rows, PRODUCT)
    found = row_digests(batch, VOLATILE)
    for digests, meaning in ((found.lasting, lasting), (found.volatile, moving)):
        assert (digests != 0).all()
        assert len(set(digests.tolist())) == len({meaning(row) for row in rows})
    start = data.draw(st.integers(0, len(rows) - 1))
    part = row_digests(batch.slice(start, 2), VOLATILE)
    assert part.lasting.tolist() == found.lasting[start : start + 2].tolist()
    assert part.volatile.tolist() == found.volatile[start : start + 2].tolist()


def test_a_digest_is_the_same_tomorrow():
    """They are stored: another one and every row of the next day would be looked at by itself."""
    batch = rows_to_batch(
        [
            {
                "product_id": "x",
                "title": "Lamp",
                "image": b"\xff\xd8\xff",
                "category": ["Home", "Lamps"],
                "sales": 3,
                "attributes": [("colour", "red"), ("price", "9")],
            }
        ],
        PRODUCT,
    )
    found = row_digests(batch, VOLATILE)
    assert (found.lasting.tolist(), found.volatile.tolist()) == (
        [8732518045895468021],
        [16774849612067045962],
    )


@pytest.mark.parametrize("rows", [0, 1])
def test_batches_without_anything(rows):
    found = row_digests(rows_to_batch([{"product_id": "x"}] * rows, PRODUCT), VOLATILE)
    assert len(found.lasting) == len(found.volatile) == rows
