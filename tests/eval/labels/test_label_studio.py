import json

import pytest

from mmprod.storage.errors import InputError


@pytest.fixture
def tasks(answers, forms):
    return forms.tasks(answers)


def test_an_export_comes_back_whole(tasks, read, questions):
    labels = read(json.dumps(tasks))
    assert labels.judgements["pair_id"].to_pylist() == questions["pair_id"].to_pylist()
    assert set(labels.judgements["label"].to_pylist()) == {True}
    assert labels.rows == 30


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gbk"])
def test_other_encodings(tasks, read, encoding):
    tasks[0]["data"]["anchor_title"] = "红色连衣裙 女士 短袖 夏季"
    text = json.dumps(tasks, ensure_ascii=False, indent=2)
    assert read(text.encode(encoding)).judgements.num_rows == 30


def test_each_annotation_is_a_row_and_completed_by_its_reviewer(tasks, read, forms):
    tasks[0]["annotations"] = [
        forms.annotation("same", {"id": 3, "email": "ann@example.com"}),
        forms.annotation("different", {"id": 4, "email": ""}),
        forms.annotation("Same", 5),
    ]
    found = read(json.dumps(tasks)).judgements.slice(0, 3)
    assert found["reviewer"].to_pylist() == ["ann@example.com", "4", "5"]
    assert found["label"].to_pylist() == [True, False, True]


def test_who_is_asked_answers_where_the_annotation_does_not_say(tasks, read):
    del tasks[0]["annotations"][0]["completed_by"]
    tasks[0]["data"]["reviewer"] = "bo"
    del tasks[1]["annotations"][0]["completed_by"]
    labels = read(json.dumps(tasks))
    assert labels.judgements["reviewer"].to_pylist()[0] == "bo"
    assert [row.line for row in labels.rejected] == [2]


def test_cancelled_skipped_and_missing_annotations_are_unanswered(tasks, read):
    tasks[0]["annotations"][0]["was_cancelled"] = True
    tasks[1]["annotations"][0]["result"] = []
    tasks[2]["annotations"] = []
    tasks[3]["predictions"] = [{"result": []}]
    labels = read(json.dumps(tasks))
    assert (labels.rows, labels.unanswered, labels.judgements.num_rows) == (30, 3, 27)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda task: task.pop("data"),
        lambda task: task.pop("annotations"),
        lambda task: task.update(data=[1]),
        lambda task: task.update(annotations=["same"]),
        lambda task: task["annotations"][0].update(result=[{"value": {"rating": 5}}]),
        lambda task: task["annotations"][0]["result"][0]["value"].update(choices=["same", "different"]),
        lambda task: task["annotations"][0]["result"][0]["value"].update(choices=[{"same": 1}]),
        lambda task: task["annotations"][0].update(completed_by="half a \ud83d"),
        lambda task: task["data"].update(product_id=12),
    ],
)
def test_tasks_of_other_projects_are_given_back(tasks, read, spoil, tmp_path):
    from mmprod.eval.labels import write_rejected

    spoil(tasks[4])
    labels = read(json.dumps(tasks))
    (rejected,) = labels.rejected
    assert rejected.line == 5 and labels.judgements.num_rows == 29
    write_rejected(tmp_path / "rejected.csv", labels)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[",
        "[}",
        "[{},]",
        "[{}",
        "[{} {}]",
        "[{}] more",
        "[{},,{}]",
        '[{"data": {}, "data": {}}]',
        "[" * 100_000,
        "[" + "9" * 5000 + "]",
    ],
)
def test_what_is_no_whole_list_is_refused(read, text):
    with pytest.raises(InputError, match="no whole list of tasks"):
        read(text)


def test_an_empty_list_has_no_rows(read):
    assert read(" [ ] \n").rows == 0
