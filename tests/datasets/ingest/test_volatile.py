"""Volatile fields are stored and move nothing; lasting fields have a position of their own."""

import datetime

import pytest

MONDAY, TUESDAY, WEDNESDAY = (datetime.date(2024, 5, day) for day in (6, 7, 8))
TUESDAY_NOON = datetime.datetime(2024, 5, 7, 12, tzinfo=datetime.UTC)


def lamp(**fields):
    return {"product_id": "a", "title": "Lamp", "image": b"\xff\xd8\xff\xe0photo", "sales": 1} | fields


def others(count):
    return [{"product_id": f"x{i}", "title": "Rug"} for i in range(count)]


@pytest.mark.parametrize(
    "change",
    [
        {"sales": 2},
        {"sales": None},
        {"attributes": [("price", "9.99")]},
        {"updated_at": TUESDAY_NOON, "sales": 2},
    ],
)
def test_a_volatile_field_is_stored_and_moves_no_position(ingest, store, change):
    ingest(MONDAY, [lamp()])
    positions = store.head(), store.field_head()
    assert ingest(TUESDAY, [lamp(**change)]) == ({"volatile": 1}, [])
    assert (store.head(), store.field_head()) == positions
    record = store.get("a")
    assert (record.sales, record.attributes) == (
        change.get("sales", 1), dict(change.get("attributes", ()))
    )  # fmt: skip
    assert ingest(WEDNESDAY, [lamp(**change)]) == ({"unchanged": 1}, [])
    assert store.undo_day(WEDNESDAY) == 0
    assert store.undo_day(TUESDAY) == 1
    assert (store.get("a").sales, store.get("a").attributes) == (1, {})
    assert (store.head(), store.field_head()) == positions
    assert store.verify() == []


def test_lasting_fields_have_a_position_of_their_own(ingest, store):
    ingest(MONDAY, [lamp(), *others(30)])
    encoded, told = store.head(), store.field_head()
    ingest(TUESDAY, [lamp(brand="Lumo"), *others(30)])
    assert store.head() == encoded
    assert [change.product_id for change in store.field_changes_since(told)] == ["a"]
    told = store.field_head()
    ingest(WEDNESDAY, [lamp(brand="Lumo", title="Tall lamp"), *others(29)])
    assert [change.product_id for change in store.changes_since(encoded)] == ["a", "x29"]
    assert store.field_head() == told


def test_which_attributes_are_volatile_is_declared(ingest, store):
    dear, cheap = ({"attributes": [("price", price), ("colour", "red")]} for price in "21")
    ingest(MONDAY, [lamp(**dear)], volatile=["colour"])
    assert ingest(TUESDAY, [lamp(**cheap)], volatile=["colour"])[0] == {"fields": 1}
    assert ingest(WEDNESDAY, [lamp(attributes=[("price", "1")])], volatile=["colour"])[0] == {"volatile": 1}
