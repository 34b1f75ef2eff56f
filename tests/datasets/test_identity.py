import datetime
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.datasets.identity import (
    EMPTY,
    canonical_fields,
    content_hash,
    day_date,
    day_number,
    shard_of,
)
from mmprod.datasets.store.checked_values import seal, unseal
from mmprod.datasets.store.record import body, parts
from mmprod.datasets.store.state import Content, Digests, State, delivered, gone, pack, seen, unheard, unpack
from mmprod.datasets.volatile import Volatile
from mmprod.storage.errors import StateError

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
words = st.text(st.characters(exclude_categories=["Cs"]))


def test_hash_is_the_head_of_sha256_and_nothing_is_zero():
    assert content_hash(b"lamp") == hashlib.sha256(b"lamp").digest()[:16]
    assert content_hash(b"") == EMPTY == bytes(16)


def test_fields_of_equal_meaning_are_equal_bytes():
    one = canonical_fields(["Home", None, ""], "", None, [("b", "2"), ("a", "1"), ("b", "3")], None, "")
    two = canonical_fields(["Home"], None, "", {"a": "1", "b": "3"}, "", None)
    assert one == two


@pytest.mark.parametrize(
    "other",
    [
        (["Home", "Lamps"], "s", "b", {"a": "1"}, "p", "u"),
        (["Home Lamps"], "s", "b", {"a": "1"}, "p", None),
        (["Home", "Lamps"], "b", "s", {"a": "1"}, "p", None),
        (["Home", "Lamps"], "s", None, {"a": "1"}, "p", None),
        (["Home", "Lamps"], "s", "b", {"a": None}, "p", None),
        (["Home", "Lamps"], "s", "b", {"a": "1"}, None, "p"),
    ],
)
def test_fields_of_other_meaning_are_other_bytes(other):
    assert canonical_fields(*other) != canonical_fields(["Home", "Lamps"], "s", "b", {"a": "1"}, "p", None)


@given(names, st.none() | names.filter(bool), st.binary())
def test_record_bytes_round_trip(title, reason, fields):
    assert parts(body(title, reason, fields)) == (title, reason, fields)


@given(st.dates())
def test_days_round_trip(day):
    assert day_date(day_number(day)) == day
    assert day_number(datetime.date(1970, 1, 2)) == 1


def test_shards_are_even_and_one_shard_takes_all():
    counts = [0] * 8
    for i in range(8000):
        counts[shard_of(f"p{i}".encode(), 8)] += 1
    assert min(counts) > 900
    assert {shard_of(f"p{i}".encode(), 1) for i in range(100)} == {0}


@given(st.binary(max_size=30), st.integers(0, 34 * 8 - 1))
def test_a_flipped_bit_or_another_key_is_noticed(data, bit):
    value = bytearray(seal(b"key", data))
    assert unseal("records", b"key", bytes(value)) == data
    with pytest.raises(
        StateError, match=r"records\[other\] carries checksum [0-9a-f]{8}, its bytes give [0-9a-f]{8}"
    ):
        unseal("records", b"other", bytes(value))
    value[bit // 8 % len(value)] ^= 1 << bit % 8
    with pytest.raises(StateError):
        unseal("records", b"key", bytes(value))


events = st.lists(
    st.tuples(st.sampled_from(["delivered", "seen", "gone"]), st.none() | st.integers(0, 10**12)),
    min_size=1,
    max_size=6,
)


@given(events, st.randoms())
def test_merging_days_is_independent_of_order_and_repetition(said, random):
    def merged(days):
        state = unheard(-5)
        for day in days:
            what, stamp = said[day]
            if what == "delivered":
                state = delivered(state, Content(bytes([day] * 16)), stamp, day)
            else:
                state = (seen if what == "seen" else gone)(state, day)
        return state._replace(gone_day=0) if state.present else state

    days = list(range(len(said)))
    shuffled = days + random.choices(days, k=3)
    random.shuffle(shuffled)
    assert merged(days) == merged(shuffled)


@given(st.integers(0, 9), st.integers(0, 9), st.none() | st.integers(-(10**15), 10**15), st.booleans())
def test_what_is_packed_is_read_back(day, full_day, stamp, present):
    last = max(day, full_day) if present else day
    absent = -1 if present else max(day, full_day)
    state = State(
        Content(b"i" * 16, b"t" * 16, b"f" * 16, 2**32 - 1),
        *(stamp, day, day, last, absent, present),
        Volatile(stamp, b'[["price","9"]]' if present else b""),
        Digests(2**64 - 1, day),
        *(2**63, 2**62),
    )
    assert unpack(b"key", pack(b"key", state, full_day), full_day) == state


def test_an_unchanged_live_product_moves_with_the_full_day_unless_pinned():
    state = delivered(unheard(3), Content(b"i" * 16), None, 4)
    later = unpack(b"k", pack(b"k", state, 4), 9)
    assert (later.content_day, later.seen_day, later.key) == (9, 9, (9 * 86_400_000_000, 9))
    pinned = unpack(b"k", pack(b"k", seen(state, 6), 6), 9)
    assert (pinned.content_day, pinned.seen_day) == (4, 9)


def test_further_pictures_and_categories_count_where_there_are_any() -> None:
    plain = canonical_fields(["Home"], None, None, None, "p.jpg", None)
    assert plain == canonical_fields(["Home"], None, None, None, "p.jpg", None, [], None)
    more = canonical_fields(["Home"], None, None, None, "p.jpg", None, ["q.jpg", "r.jpg"], ["Sale"])
    assert more == plain[:-1] + b',["q.jpg","r.jpg"],["Sale"]]'
    assert more != canonical_fields(["Home"], None, None, None, "p.jpg", None, ["r.jpg", "q.jpg"], ["Sale"])


@given(
    words,
    st.none() | words,
    st.dictionaries(words, st.none() | words),
)
def test_fields_are_the_json_that_stores_are_hashed_from(
    level: str, brand: str | None, attributes: dict[str, str | None]
) -> None:
    """Another byte in any of them, and every stored product would count as changed."""
    fields = [[level] if level else [], None, brand or None, sorted(attributes.items()), None, None]
    wanted = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    assert canonical_fields([level], None, brand, attributes, None, None) == wanted
