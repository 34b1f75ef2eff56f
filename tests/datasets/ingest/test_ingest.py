"""What a day does to the store, case by case; orders of days and crashes have files of their own."""

import datetime
import hashlib

import pyarrow as pa
import pytest

from mmprod.datasets.ingest.ingest import ingest_day
from mmprod.datasets.schemas import CHANGE
from mmprod.storage.errors import InputError, StateError

MONDAY, TUESDAY, WEDNESDAY = (datetime.date(2024, 5, day) for day in (6, 7, 8))
PHOTO, OTHER = b"\xff\xd8\xff\xe0photo", b"\xff\xd8\xff\xe0other"


def lamp(**fields):
    return {"product_id": "a", "title": "Lamp", "image": PHOTO, "sales": 1} | fields


def others(count):
    return [{"product_id": f"x{i}", "title": "Rug"} for i in range(count)]


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        ({"image": OTHER}, "picture", "picture"),
        ({"title": "Tall lamp"}, "title", "title"),
        ({"brand": "Lumo"}, "fields", "fields"),
        ({"attributes": [("colour", "red")]}, "fields", "fields"),
        ({"category": ["Home"]}, "fields", "fields"),
        ({"sales": 2, "title": "Tall lamp", "image": OTHER}, "picture", "picture,title,volatile"),
        ({"brand": "Lumo", "title": "Tall lamp"}, "title", "title,fields"),
        ({"image": None}, "picture", "picture"),
    ],
)
def test_a_changed_part_is_named_and_stored(ingest, store, change, kind, reason):
    assert ingest(MONDAY, [lamp()]) == ({"added": 1}, [("a", "added", "", "memory:0")])
    assert ingest(TUESDAY, [lamp(**change)]) == ({kind: 1}, [("a", kind, reason, "memory:0")])
    record = store.get("a")
    row = lamp(**change)
    assert (record.title, record.sales, record.brand) == (row["title"], row["sales"], row.get("brand"))
    assert store.picture(record.image_hash) == row["image"]
    assert record.attributes == dict(row.get("attributes", ()))
    assert (record.first_day, record.seen_day, record.content_day) == (MONDAY, TUESDAY, TUESDAY)


def test_titles_are_compared_in_their_normal_form(ingest):
    ingest(MONDAY, [lamp(title="Ｌａｍｐ  one")])
    assert ingest(TUESDAY, [lamp(title="Lamp one")])[0] == {"unchanged": 1}


def test_the_same_day_again_changes_no_byte(ingest, store, tmp_path, day_tables):
    monday = [*day_tables.catalogue(300), {"product_id": "u", "image_url": "http://x/1", "refused": "bad"}]
    tuesday = [
        *day_tables.catalogue(280)[20:],
        lamp(image_path="gone.jpg", image=None),
        lamp(product_id="p00021"),
    ]
    runs = [
        (MONDAY, monday, True),
        (TUESDAY, tuesday, True),
        (WEDNESDAY, day_tables.catalogue(9, "new"), False),
    ]
    for day, rows, full in runs:
        ingest(day, rows, full)
    before = digest(tmp_path)
    for day, rows, full in runs:
        outcomes, _ = ingest(day, rows, full)
        assert set(outcomes) <= {"unchanged", "stale", "quarantined"}
    assert digest(tmp_path) == before


def digest(folder):
    return hashlib.sha256((folder / "store/shard-000/data.mdb").read_bytes()).hexdigest()


def test_a_new_day_writes_of_its_unchanged_rows_nothing(ingest, store, day_tables):
    ingest(MONDAY, day_tables.catalogue(100))
    ingest(TUESDAY, day_tables.catalogue(90))
    before, _ = next(store.shards[0].chunks("states"))
    outcomes, changes = ingest(WEDNESDAY, day_tables.catalogue(90))
    assert (outcomes, changes) == ({"unchanged": 90}, [])
    assert next(store.shards[0].chunks("states"))[0] == before
    assert (store.get("p00000").seen_day, store.get("p00099").seen_day) == (WEDNESDAY, MONDAY)


def test_only_a_full_day_removes_by_absence_and_a_product_can_return(ingest, store):
    ingest(MONDAY, [lamp(), *others(1)])
    assert ingest(TUESDAY, others(1), full=False) == ({"unchanged": 1}, [])
    assert ingest(WEDNESDAY, others(1)) == (
        {"unchanged": 1, "removed_by_absence": 1},
        [("a", "removed", "absent from the full table", "")],
    )
    assert (store.get("a").live, list(store.live_ids())) == (False, ["x0"])
    thursday = WEDNESDAY + datetime.timedelta(1)
    assert ingest(thursday, [lamp(title="Lamp II")], full=False) == (
        {"relisted": 1},
        [("a", "relisted", "title", "memory:0")],
    )
    assert store.get("a").live


def test_rows_delete_and_unknown_ids_are_no_matter(ingest, store):
    ingest(MONDAY, [lamp(), *others(1)])
    outcomes, changes = ingest(TUESDAY, [lamp(deleted=True), lamp(product_id="?", deleted=True)], full=False)
    assert outcomes == {"removed_by_row": 1, "unchanged": 1}
    assert changes == [("a", "removed", "deleted by row", "memory:0")]
    assert (store.get("a").live, store.get("?"), store.stats().live) == (False, None, 1)


def test_a_deletion_of_an_unknown_id_holds_against_an_earlier_day(ingest, store):
    ingest(WEDNESDAY, [lamp(deleted=True)], full=False)
    assert ingest(MONDAY, [lamp()], full=False)[1] == [("a", "stale", "gone on a later day", "memory:0")]
    assert not store.get("a").live


def test_newer_updated_at_wins_over_a_later_day(ingest, store):
    noon = datetime.datetime(2024, 5, 5, 12, tzinfo=datetime.UTC)
    ingest(MONDAY, [lamp(title="new", updated_at=noon)])
    early = noon - datetime.timedelta(hours=1)
    assert ingest(TUESDAY, [lamp(title="old", updated_at=early)]) == (
        {"stale": 1},
        [("a", "stale", "version 2024-05-05T11:00:00Z is older than 2024-05-05T12:00:00Z", "memory:0")],
    )
    record = store.get("a")
    assert (record.title, record.updated_at) == ("new", noon)
    assert (record.seen_day, record.content_day) == (TUESDAY, MONDAY)


def test_of_several_rows_with_one_id_the_newest_then_the_last_counts(ingest, store):
    noon = datetime.datetime(2024, 5, 6, 12, tzinfo=datetime.UTC)
    rows = [
        lamp(title="one"),
        lamp(title="two", updated_at=noon),
        lamp(title="three", updated_at=noon),
        lamp(),
    ]
    outcomes, changes = ingest(MONDAY, [*rows, *others(2)], batch_rows=2)
    assert outcomes == {"added": 3, "stale": 3}
    assert [c for c in changes if c[1] == "stale"] == [
        ("a", "stale", "duplicate", f"memory:{i}") for i in (0, 1, 3)
    ]
    assert store.get("a").title == "three"


def test_a_refused_row_keeps_its_product_alive_but_says_nothing_of_it(ingest, store):
    ingest(MONDAY, [lamp(), *others(1)])
    bad = lamp(title="?", refused="bad price")
    nameless = {"product_id": None, "refused": "no id"}
    outcomes, changes = ingest(
        TUESDAY, [bad, nameless, lamp(product_id="z" * 600, refused="id too long"), *others(1)]
    )
    assert outcomes == {"quarantined": 3, "unchanged": 1}
    assert changes[:2] == [
        ("a", "quarantined", "bad price", "memory:0"),
        (None, "quarantined", "no id", "memory:1"),
    ]
    record = store.get("a")
    assert (record.live, record.title, record.seen_day, record.content_day) == (True, "Lamp", TUESDAY, MONDAY)


def test_a_late_full_day_does_not_undo_a_later_one(ingest, store):
    ingest(WEDNESDAY, [lamp()])
    outcomes, changes = ingest(TUESDAY, others(1))
    assert outcomes == {"stale": 1}
    assert changes == [("x0", "stale", "gone on a later day", "memory:0")]
    assert (store.get("a").live, store.get("x0").live) == (True, False)
    assert store.stats().latest_full_day == "2024-05-08"


def test_too_many_removals_are_refused_before_anything_changes(ingest, store, tmp_path):
    ingest(MONDAY, others(100))
    before = digest(tmp_path)
    with pytest.raises(InputError, match=r"leaves out 31 of 100 live products.*--approve-removals"):
        ingest(TUESDAY, [lamp(), *others(69)])
    assert digest(tmp_path) == before
    assert ingest(TUESDAY, others(70))[0] == {"unchanged": 70, "removed_by_absence": 30}
    assert ingest(WEDNESDAY, others(1), approve_removals=True)[0] == {
        "unchanged": 1,
        "removed_by_absence": 69,
    }


def test_a_small_store_may_lose_any_share(ingest):
    ingest(MONDAY, others(19))
    assert ingest(TUESDAY, others(1))[0]["removed_by_absence"] == 18


@pytest.mark.parametrize("rows", [[], [{"product_id": "a", "refused": "bad"}]])
def test_a_table_without_a_usable_row_is_refused(ingest, store, rows):
    ingest(MONDAY, [lamp()])
    with pytest.raises(InputError, match="2024-05-07 has no usable row"):
        ingest(TUESDAY, rows)
    assert store.get("a").live


def test_a_picture_that_is_none_leaves_a_text_product_with_the_reason(ingest, store, day_tables):
    pictures = day_tables.MemoryPictures({"there.jpg": PHOTO})
    rows = [
        lamp(image=b"<html><body>not found</body></html>"),
        lamp(product_id="b", image=None, image_path="gone.jpg"),
        lamp(product_id="c", image=None, image_url="http://x/gone"),
        lamp(product_id="d", image=None, image_path="there.jpg"),
        lamp(product_id="e", image=None),
    ]
    outcomes, changes = ingest(MONDAY, rows, pictures=pictures)
    assert outcomes == {"added": 5, "pictures_rejected": 3}
    rejected = {c[0]: c[2] for c in changes if c[1] == "picture_rejected"}
    assert rejected == {"a": "html", "b": "missing", "c": "http_404"}
    assert [record.image_reason for record in store.iterate()] == ["html", "missing", "http_404", None, None]
    assert store.picture(store.get("d").image_hash) == PHOTO
    assert ingest(MONDAY, rows, pictures=pictures) == ({"unchanged": 5}, [])
    pictures.files["gone.jpg"] = OTHER
    assert ingest(TUESDAY, rows, pictures=pictures)[1] == [("b", "picture", "picture", "memory:1")]
    assert store.get("b").image_reason is None


def test_an_address_that_gave_a_picture_is_not_fetched_again(ingest, store, day_tables):
    pictures = day_tables.MemoryPictures({"http://x/1": PHOTO, "http://x/2": OTHER})
    row = lamp(image=None, image_url="http://x/1")
    ingest(MONDAY, [row], pictures=pictures)
    ingest(TUESDAY, [row], pictures=pictures)
    ingest(WEDNESDAY, [row | {"sales": 9}], pictures=pictures)
    ingest(MONDAY, [row | {"image_url": "http://x/2"}], pictures=pictures)  # stale: not looked at
    assert pictures.asked == ["http://x/1"]
    assert store.picture(store.get("a").image_hash) == PHOTO
    ingest(WEDNESDAY, [row | {"image_url": "http://x/2"}], pictures=pictures)
    assert (pictures.asked[1:], store.picture(store.get("a").image_hash)) == (["http://x/2"], OTHER)


def test_a_picture_is_stored_once_for_all_its_products(ingest, store):
    ingest(MONDAY, [lamp(product_id=f"p{i}") for i in range(50)])
    assert store.stats().pictures == 1
    assert store.placeholder_hashes(50) == {store.get("p0").image_hash: 50}
    assert store.placeholder_hashes(51) == {}


def test_ids_of_every_length_lmdb_can_hold(ingest, store):
    ids = ["0012345", "NA", "é" * 255, "z" * 511]
    ingest(MONDAY, [lamp(product_id=i) for i in ids])
    assert sorted(store.live_ids()) == sorted(ids)
    assert [record.product_id for record in store.get_many([*ids, "no"])[:4]] == ids
    assert ingest(TUESDAY, [lamp(product_id=i) for i in ids])[0] == {"unchanged": 4}


def test_progress_counts_the_rows_read(ingest):
    seen = []
    ingest(MONDAY, others(25), batch_rows=10, on_progress=seen.append)
    assert seen == [10, 20, 25]


def changes(store, day):
    rows = pa.Table.from_batches(store.changes_of(day), CHANGE).to_pylist()
    return [(row["product_id"], row["kind"], row["source"]) for row in rows]


def test_changes_stay_in_the_order_of_the_table_until_they_are_forgotten(store, day_tables, monkeypatch):
    monkeypatch.setattr("mmprod.datasets.store.view.CHUNK", 4)
    rows = [*reversed(others(10)), {"product_id": None, "refused": "no id"}, *others(1)]
    for _ in range(2):  # the replay adds nothing
        run(store, day_tables, MONDAY, rows, batch_rows=3)
        assert changes(store, MONDAY) == [
            (None, "quarantined", "memory:10"),
            *((f"x{9 - i}", "added", f"memory:{i}") for i in range(9)),
            ("x0", "stale", "memory:9"),
            ("x0", "added", "memory:11"),
        ]
    run(store, day_tables, TUESDAY, others(9))
    assert (changes(store, TUESDAY), changes(store, WEDNESDAY)) == ([("x9", "removed", "")], [])
    log = store.logs_of(MONDAY)
    store.forget_changes(MONDAY)
    assert (changes(store, MONDAY), store.logs_of(MONDAY), len(log)) == ([], set(), 1)
    assert changes(store, TUESDAY) == [("x9", "removed", "")]
    assert store.verify() == []


def run(store, day_tables, day, rows, pictures=None, **options):
    pictures = pictures or day_tables.MemoryPictures()
    return ingest_day(store, day_tables.MemoryTable(rows), day, full=True, pictures=pictures, **options)


def test_another_table_of_the_same_day_extends_its_changes(store, day_tables):
    first, second = [lamp()], [lamp(title="Rug")]
    for rows in (first, second, first):
        run(store, day_tables, MONDAY, rows)
    assert sorted(kind for _, kind, _ in changes(store, MONDAY)) == ["added", "title", "title"]


def test_a_replay_that_gets_a_missing_picture_at_last_tells_of_it_and_of_nothing_else(store, day_tables):
    pictures = day_tables.MemoryPictures()
    rows = [lamp(image=None, image_path="late.jpg"), lamp(), *others(2), {"product_id": None, "refused": "?"}]
    rows[1]["product_id"] = "b"
    run(store, day_tables, MONDAY, rows, pictures)
    store.forget_changes(MONDAY)
    pictures.files["late.jpg"] = PHOTO
    run(store, day_tables, MONDAY, rows, pictures)
    assert changes(store, MONDAY) == [("a", "picture", "memory:0")]


def test_a_damaged_change_is_reported(store, day_tables):
    run(store, day_tables, MONDAY, [lamp()])
    shard = store.shards[0]
    with shard.environment.begin(write=True) as txn, txn.cursor(db=shard._databases["changes"]) as cursor:
        cursor.last()
        cursor.put(cursor.key(), cursor.value()[:-1] + b"?")
    with pytest.raises(StateError, match=r"changes\["):
        changes(store, MONDAY)
    assert [problem for problem in store.verify() if "changes[" in problem]
