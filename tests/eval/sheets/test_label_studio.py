import base64
import json

import pytest
from defusedxml import ElementTree

from mmprod.eval.sheets.label_studio import LABELLING_CONFIG, write_label_studio
from mmprod.storage.errors import InputError


def tasks(path):
    return [task["data"] for task in json.loads(path.read_text())]


def test_a_task_says_what_a_sheet_says(tmp_path, rows):
    write_label_studio(tmp_path / "tasks.json", rows)
    for task, row in zip(tasks(tmp_path / "tasks.json"), rows, strict=True):
        assert task["pair_id"] == row.question_id
        assert (task["anchor_id"], task["product_id"]) == (row.anchor.product_id, row.product.product_id)
        assert (task["anchor_title"], task["product_title"]) == (row.anchor.title, row.product.title)


def test_pictures_are_inside_and_words_are_escaped(tmp_path, rows):
    write_label_studio(tmp_path / "tasks.json", rows)
    for task, row in zip(tasks(tmp_path / "tasks.json"), rows, strict=True):
        assert "<script" not in task["anchor_html"] and "<b>" not in task["anchor_html"]
        assert task["anchor_html"].count("<img") == bool(row.anchor.picture)
        if row.anchor.picture:
            assert base64.b64encode(row.anchor.picture).decode() in task["anchor_html"]


def test_the_interface_lies_beside_and_shows_what_tasks_have(tmp_path, rows):
    write_label_studio(tmp_path / "tasks.json", rows)
    config = (tmp_path / "tasks.config.xml").read_text()
    assert config == LABELLING_CONFIG
    names = {tag.get("value") for tag in ElementTree.fromstring(config).iter("HyperText")}
    assert {name.removeprefix("$") for name in names} <= set(tasks(tmp_path / "tasks.json")[0])


def test_a_sheet_without_questions_is_not_written(tmp_path):
    with pytest.raises(InputError, match="no pair to ask about"):
        write_label_studio(tmp_path / "tasks.json", [])
    assert not list(tmp_path.iterdir())
