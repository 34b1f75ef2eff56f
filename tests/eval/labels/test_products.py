"""Files that name pairs by their two products, without a pair_id column."""

import pyarrow as pa
import pytest


@pytest.fixture
def bare(answers):
    """The filled-in sheet with anchor_id, product_id, label and reviewer alone."""
    return [[row[1], row[3], row[5], row[6]] for row in answers]


def test_two_products_tell_the_pair(bare, read, questions):
    labels = read(bare)
    assert labels.judgements["pair_id"].to_pylist() == questions["pair_id"].to_pylist()
    assert labels.judgements["repeat"].to_pylist() == [False] * 29 + [True]
    assert labels.swapped == 0


def test_either_way_round(bare, read, questions):
    swapped = [bare[0], *([row[1], row[0], *row[2:]] for row in bare[2:30])]
    labels = read(swapped)
    assert labels.judgements["anchor_id"].to_pylist() == questions["anchor_id"].to_pylist()[1:29]
    assert labels.swapped == 28


def test_a_number_that_is_no_id_any_more_is_never_guessed(bare, read):
    bare[1][0] = "12345"
    (rejected,) = read(bare).rejected
    assert "not a pair that was asked" in rejected.reason and "spreadsheet made of an id" in rejected.reason


def test_the_same_pair_asked_of_two_reviewers_is_one_question(bare, read, questions):
    twice = pa.concat_tables([questions, questions])
    labels = read([*bare, *([*row[:3], "bo"] for row in bare[1:])], twice)
    assert labels.judgements.num_rows == 60 and not labels.rejected


def test_products_asked_about_again_with_another_picture_need_the_pair_id(bare, answers, read, questions):
    changed = questions.slice(1, 1).to_pylist()[0]
    changed |= {"question_id": "p" + "e" * 20, "pair_id": "p" + "e" * 20}
    asked = pa.concat_tables([questions, pa.Table.from_pylist([changed], questions.schema)])
    (rejected,) = read(bare, asked).rejected
    assert rejected.line == 3 and "pair_id is needed" in rejected.reason
    assert read(answers, asked).judgements.num_rows == 30


def test_unknown_self_pairs_and_totals_are_rejected(bare, read):
    bare += [["Total:", "30", "", ""], [bare[1][0], bare[1][0], "1", "ann"], ["a", "b", "1", "ann"]]
    labels = read(bare)
    assert [row.line for row in labels.rejected] == [32, 33, 34]
    assert labels.judgements.num_rows == 30
