"""What spreadsheets and people do to label files, read for what it is."""

import pytest

from mmprod.storage.errors import InputError


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;", "sep=;;;;;;;"])
def test_a_line_that_tells_the_delimiter_is_heeded(answers, read, forms, line):
    data = line.encode() + b"\r\n" + forms.csv(answers, delimiter=";")
    labels = read(data)
    assert (labels.rows, labels.judgements.num_rows) == (30, 30)


def test_it_goes_before_what_the_header_looks_like(read, questions):
    question = questions.to_pylist()[3]
    header = "pair_id\tanchor_id\tproduct_id\tlabel\treviewer\ta,b,c,d,e,f,g"
    row = f"{question['question_id']}\t{question['anchor_id']}\t{question['product_id']}\t1\tann\t"
    assert read(f"sep=\t\n{header}\n{row}\n").judgements.num_rows == 1


@pytest.mark.parametrize(
    "title", ["Answers of the week\n", "Week 12, answers\n\n", '"Ann\'s ""answers"", final"\n,,,\n']
)
def test_a_title_may_stand_above_the_header(answers, read, forms, title):
    answers[3][5] = "?"
    labels = read(title.encode() + forms.csv(answers))
    assert (labels.rows, labels.judgements.num_rows) == (30, 29)
    assert [row.line for row in labels.rejected] == [4 + title.count("\n")]


def test_without_a_header_the_first_line_is_named(read):
    with pytest.raises(InputError, match="no column anchor_id, product_id, label; the header is 'a, b'"):
        read("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"no column .* the header is 'a, b'"):
        read("sep=;\na;b\n1;2\n")


def test_ids_protected_from_being_numbers_are_told_and_counted(answers, read, forms):
    plain = [
        [cell.removeprefix("'") if at in (1, 3) else cell for at, cell in enumerate(row)] for row in answers
    ]
    assert read(plain).protected == 5  # those of an id that itself begins with an apostrophe
    row = next(row for row in plain if row[1] == "0012345")
    for cell in ('="0012345"', "'0012345", ' ="0012345" '):
        row[1] = cell
        labels = read(plain)
        assert (labels.judgements.num_rows, labels.protected) == (30, 6)


def test_and_so_are_formulas_of_a_workbook(answers, read, forms):
    row = next(row for row in answers if row[1] == "'0012345")
    row[1] = '="0012345"'
    assert read(forms.xlsx(answers)).judgements.num_rows == 30


def test_one_person_is_one_however_the_name_was_typed(sheet, read, forms):
    rows = forms.answered(sheet)
    for row, name in zip(
        rows[1:],
        ["José Li", "Jose\u0301 Li", "José\u00a0Li", " José  Li\u200b", "\ufeffJosé Li"],
        strict=False,
    ):
        row[6] = name
    assert set(read(rows).judgements["reviewer"].to_pylist()) == {"José Li", "ann"}


def test_a_name_that_shows_nothing_is_none(answers, read):
    answers[1][6] = "\u200b\u00a0"
    (rejected,) = read(answers).rejected
    assert "no reviewer" in rejected.reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Anna", "did you mean 'ann'?"),
        ("ANN", "did you mean 'ann'?"),
        ("benn", "did you mean 'Ben Å'?"),
        ("somebody", "known are Ben Å, ann"),
    ],
)
def test_who_is_not_among_the_reviewers_is_rejected_with_the_nearest_name(answers, read, name, reason):
    answers[4][6] = name
    labels = read(answers, reviewers=("ann", "Ben A\u030a"))
    (rejected,) = labels.rejected
    assert rejected.reason == f"reviewer {name!r} is nobody known here: {reason}"
    assert labels.judgements.num_rows == 29


def test_whose_file_it_is_has_to_be_known_too(sheet, read, forms):
    rows = forms.answered(sheet, reviewer="")
    assert read(rows, reviewer="ann", reviewers=("ann",)).judgements.num_rows == 30
    labels = read(rows, reviewer="an", reviewers=("ann",))
    assert {row.reason for row in labels.rejected} == {
        "reviewer 'an' is nobody known here: did you mean 'ann'?"
    }


def test_a_file_of_nobody_with_a_name_is_refused(answers, read):
    with pytest.raises(InputError, match="no part of a name"):
        read(answers, reviewer="a\nb")


def test_a_western_file_keeps_its_names(sheet, read, forms):
    """No Chinese character in it: GB18030 would read some into it."""
    rows = [
        row for row in forms.answered(sheet) if row[1:4:2] == [cell for cell in row[1:4:2] if cell.isascii()]
    ]
    names = ["Müller", "Zoë", "Peña", "São Vicente"]
    for number, row in enumerate(rows[1:]):
        row[2] = row[4] = "a title"
        row[6] = names[number % 4]
    labels = read(forms.csv(rows, "cp1252", ";"))
    assert labels.encoding == "cp1252" and not labels.rejected
    assert set(labels.judgements["reviewer"].to_pylist()) == set(names)


def test_an_undecidable_file_is_refused_and_read_when_declared(read, questions):
    question = questions.to_pylist()[3]
    ids = f"{question['question_id']},{question['anchor_id']},{question['product_id']}"
    data = f"pair_id,anchor_id,product_id,label,reviewer\n{ids},1,HÉLÈNE\n".encode("cp1252")
    with pytest.raises(InputError, match=r"may be .*cp1252.*: it can't be told which; .*review\.encoding"):
        read(data)
    assert read(data, encoding="cp1252").judgements["reviewer"].to_pylist() == ["HÉLÈNE"]


def test_answers_above_the_header_are_no_title(answers, forms, read) -> None:
    header, *rows = answers
    displaced = [*rows[:3], header, *rows[3:]]
    for data in (forms.csv(displaced), forms.csv(displaced, delimiter="\t"), forms.xlsx(displaced)):
        with pytest.raises(InputError, match="row 1 stands above the header and has"):
            read(data)
