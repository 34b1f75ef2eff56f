"""What is to be done about changed products, told by hand."""

import datetime
from typing import Any

import numpy as np

from mmprod.datasets.embeddings.plan import outdated, plan
from mmprod.datasets.embeddings.rows import Known, Row
from mmprod.datasets.identity import EMPTY
from mmprod.datasets.store.record import Record
from mmprod.datasets.store.state import Content, State
from mmprod.datasets.store.store import Changed

RED, BLUE, MUG, VASE = (bytes([n]) * 16 for n in range(1, 5))
DAY = datetime.date(2025, 3, 1)


def changed(name: str, image: bytes = RED, text: bytes = MUG, live: bool = True) -> Changed:
    state = State(Content(image, text), content_day=1, present=live)
    return Changed(name, 0, state)


def row(name: str, image: bytes | None = RED, text: bytes | None = MUG, **other: Any) -> Row:
    fields = {"image": np.ones(2), "text": np.ones(2), "image_reason": None, "live": True} | other
    return Row(product_id=name, image_hash=image, text_hash=text, **fields)


def record(name: str, reason: str | None = None) -> Record:
    return Record(
        *(name, "Red mug", (), None, None, None, {}, None, None, reason, RED, MUG, bytes(16), None, True),
        *(DAY, DAY, DAY),
    )


def test_only_rows_that_are_not_as_they_should_be_are_due() -> None:
    changes = [
        changed("same"),
        changed("picture", image=BLUE),
        changed("title", text=VASE),
        changed("new"),
        changed("gone", live=False),
        changed("never", live=False),
        changed("failed"),
        changed("no picture", image=EMPTY),
    ]
    rows = {name: row(name) for name in ("same", "picture", "title", "gone", "failed")}
    rows["no picture"] = row("no picture", image=None)
    inside = {change.product_id for change in changes if change.live}
    found = outdated(changes, rows, inside, {"failed"})
    assert [change.product_id for change in found] == ["picture", "title", "new", "gone", "failed"]


def test_what_is_known_is_kept_and_what_failed_is_left() -> None:
    known = np.full(2, 0.5)
    changes = [
        changed("known"),
        changed("fresh", image=BLUE),
        changed("tried"),
        changed("again"),
        changed("gone"),
    ]
    rows = {name: row(name, image_reason="truncated") for name in ("tried", "again")} | {"gone": row("gone")}
    jobs = plan(
        changes,
        [record(change.product_id, "html") for change in changes],
        rows,
        {"known", "fresh", "tried", "again"},
        {"again"},
        {},
        {MUG: Known(known, "onnx-fp32")},
        {RED: b"red", BLUE: b"blue"}.get,
    )
    by_name = {job.product_id: job for job in jobs}
    pictures = {
        name: job.picture() if callable(job.picture) else job.picture for name, job in by_name.items()
    }
    assert pictures == {"known": b"red", "fresh": b"blue", "tried": None, "again": b"red", "gone": None}
    assert (by_name["tried"].image_reason, by_name["again"].image_reason) == ("truncated", "html")
    kept = [job for name, job in by_name.items() if name != "gone"]
    assert all(job.kept_text is known and job.text_backend == "onnx-fp32" for job in kept)
    assert not by_name["gone"].live and by_name["gone"].kept_image is not None


def test_a_picture_met_before_is_not_asked_for() -> None:
    vector = np.ones(2)
    (job,) = plan([changed("a")], [record("a")], {}, {"a"}, (), {RED: Known(vector, None)}, {}, {}.get)
    assert job.kept_image is vector and job.picture is None and job.title == "Red mug"
    assert job.image_backend is None


def test_nothing_is_done_about_a_product_that_is_nowhere() -> None:
    assert plan([changed("a")], [None], {}, set(), (), {}, {}, {}.get) == []
