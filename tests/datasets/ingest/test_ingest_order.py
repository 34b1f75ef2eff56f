"""Any order of days, replays and broken runs end in what a from-scratch model computes from all tables."""

import contextlib
import datetime
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmprod.datasets.identity import day_date, day_number
from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.store.store import Store

FIRST = day_number(datetime.date(2024, 5, 1))
DAYS = range(FIRST, FIRST + 6)
NOON = 12 * 3_600_000_000
DAY = 86_400_000_000
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # thousands of commits: sync nothing

row = st.fixed_dictionaries(
    {
        "product_id": st.sampled_from("abcd"),
        "title": st.sampled_from(["Lamp", "Lamp", "Rug"]),
        "sales": st.sampled_from([1, 1, 2]),
        "attributes": st.sampled_from(
            [None, None, *([(name, value)] for name in ("price", "hue") for value in "12")]
        ),
        "image": st.sampled_from([None, b"\xff\xd8\xff\xe0one", b"\xff\xd8\xff\xe0two", b"<html>"]),
        "updated_at": st.sampled_from(
            [None, None, *(day * DAY + extra for day in DAYS[::2] for extra in (0, NOON))]
        ),
        "deleted": st.sampled_from([False, False, False, True]),
        "refused": st.sampled_from([None, None, None, None, "bad price"]),
    }
).map(lambda r: {k: v for k, v in r.items() if (k, v) != ("refused", None)})
usable = row.map(lambda r: {k: v for k, v in r.items() if k != "refused"})
day_table = st.tuples(
    st.booleans(), st.tuples(usable, st.lists(row, max_size=5)).map(lambda p: [p[0], *p[1]])
)
histories = st.dictionaries(st.sampled_from(DAYS), day_table, min_size=1)


@st.composite
def runs(draw):
    """A history, and runs over it: each day at least once to its end, some broken off, some repeated."""
    history = draw(histories)
    order = draw(st.permutations(sorted(history)))
    extra = draw(st.lists(st.tuples(st.sampled_from(order), st.none() | st.integers(0, 3)), max_size=5))
    steps = [*extra, *((day, None) for day in order)]
    return history, draw(st.permutations(steps)), draw(st.sampled_from([1, 3]))


def version(row, day):
    return day * DAY if row["updated_at"] is None else row["updated_at"]


def told(rows, day):
    """What a table says of each product: its winning row, or that it stands there unusable."""
    best = {}
    for place, row in enumerate(rows):
        if "refused" not in row:
            key = (version(row, day), place)
            if row["product_id"] not in best or key > best[row["product_id"]][0]:
                best[row["product_id"]] = key, row
    said = {product_id: row for product_id, (_, row) in best.items()}
    return {r["product_id"]: None for r in rows if "refused" in r} | said


def model(history):
    """Every product ever delivered: (title, sales, picture, updated_at, three days, live, gone)."""
    tables = {day: (full, told(rows, day)) for day, (full, rows) in history.items()}
    result = {}
    for product_id in {p for _, said in tables.values() for p in said}:
        content, seen, gone = {}, set(), set()
        for day, (full, said) in tables.items():
            if product_id not in said:
                gone |= {day} if full else set()
            elif said[product_id] is None:
                seen.add(day)
            elif said[product_id]["deleted"]:
                gone.add(day)
            else:
                seen.add(day)
                content[version(said[product_id], day), day] = said[product_id]
        if content:
            (_, day), row = max(content.items(), key=lambda item: item[0])
            image = row["image"] if row["image"] != b"<html>" else "html"
            live = max(seen) > max(gone, default=-1)
            first = min(d for _, d in content)
            said = row["title"], row["sales"], dict(row["attributes"] or ()), image, row["updated_at"]
            known = *said, day, first, max(seen), live
            result[product_id] = (*known, None if live else max(gone))
    return result


def found(store):
    result = {}
    for record in store.iterate(live_only=False):
        state = store.state(record.product_id)
        image = record.image_reason or (store.picture(record.image_hash) if any(record.image_hash) else None)
        said = record.title, record.sales, record.attributes, image, state.updated_at
        known = *said, *state[2:5], state.live
        result[record.product_id] = (*known, None if state.live else state.gone_day)
    return result


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs())
def test_any_order_replays_and_broken_runs_end_in_the_model(day_tables, drawn):
    history, steps, shards = drawn
    with (
        tempfile.TemporaryDirectory(dir=MEMORY) as folder,
        Store.open(Path(folder) / "store", shards) as store,
    ):
        listener, position = {}, None
        field_listener, field_position = {}, None
        for day, stop_after in steps:
            full, rows = history[day]
            table = day_tables.MemoryTable(rows, stop_after)
            with contextlib.suppress(ConnectionError):
                ingest_day(
                    store, table, day_date(day), full=full, pictures=day_tables.MemoryPictures(),
                    batch_rows=2,
                )  # fmt: skip
            head = store.head()
            listener |= {
                c.product_id: (c.image_hash, c.text_hash, c.live) for c in store.changes_since(position)
            }
            position = head
            field_head = store.field_head()
            for change in store.field_changes_since(field_position):
                field_listener[change.product_id] = change.state.content.fields_hash
            field_position = field_head
        expected = model(history)
        assert found(store) == expected
        assert sorted(store.live_ids()) == sorted(p for p, values in expected.items() if values[8])
        assert listener == {
            r.product_id: (r.image_hash, r.text_hash, r.live) for r in store.iterate(live_only=False)
        }
        assert field_listener == {r.product_id: r.fields_hash for r in store.iterate(live_only=False)}
        assert store.verify() == []
        hashed = store.state_hash()
        size = store.stats()
        for day in history:  # once more, in order of date
            ingest_day(
                store, day_tables.MemoryTable(history[day][1]), day_date(day), full=history[day][0],
                pictures=day_tables.MemoryPictures(),
            )  # fmt: skip
        heads = store.head(), store.field_head()
        assert (store.state_hash(), store.stats(), *heads) == (hashed, size, position, field_position)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs())
def test_merging_by_column_is_merging_row_by_row(day_tables, drawn):
    """Rows merged by column (`ingest.same`, `ingest.added`) leave what merging each by itself leaves."""
    history, steps, shards = drawn
    told = []
    for by_column in (True, False):
        with (
            tempfile.TemporaryDirectory(dir=MEMORY) as folder,
            Store.open(Path(folder) / "store", shards) as store,
            pytest.MonkeyPatch.context() as patch,
        ):
            if not by_column:
                patch.setattr("mmprod.datasets.ingest.ingest.merge_same", lambda *given: ([], given[3]))
                patch.setattr("mmprod.datasets.ingest.ingest.merge_added", lambda *given: given[2])
            days = []
            for day, _ in steps:
                full, rows = history[day]
                counts = ingest_day(
                    store, day_tables.MemoryTable(rows), day_date(day), full=full,
                    pictures=day_tables.MemoryPictures(), batch_rows=2,
                )  # fmt: skip
                days.append((counts, [batch.to_pylist() for batch in store.changes_of(day_date(day))]))
            # Which product of a batch gets the next number has no meaning: new ones are written first.
            states = [store.state(record.product_id) for record in store.iterate(live_only=False)]
            products = [state._replace(sequence=0, field_sequence=0) for state in states]
            told.append((days, products, store.head(), store.field_head(), store.verify()))
    assert told[0] == told[1]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories, st.data())
def test_two_orders_have_one_state_hash(day_tables, history, data):
    hashes = []
    for order, shards in ((sorted(history), 1), (data.draw(st.permutations(sorted(history))), 2)):
        with (
            tempfile.TemporaryDirectory(dir=MEMORY) as folder,
            Store.open(Path(folder) / "store", shards) as store,
        ):
            for day in order:
                ingest_day(
                    store, day_tables.MemoryTable(history[day][1]), day_date(day), full=history[day][0],
                    pictures=day_tables.MemoryPictures(),
                )  # fmt: skip
            hashes.append(store.state_hash())
    assert hashes[0] == hashes[1]
