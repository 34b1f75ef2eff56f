import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.datasets.tables.private_copy import private_copy
from mmprod.datasets.tables.textfile import delimiter_of, encoding_of, records
from mmprod.storage.errors import InputError


@pytest.fixture
def encoding(tmp_path):
    """The encoding found of bytes."""

    def encoding(data, declared=None):
        (tmp_path / "t.csv").write_bytes(data)
        with private_copy(tmp_path / "t.csv", 10_000) as file:
            return encoding_of(file, declared)

    return encoding


@pytest.mark.parametrize("name", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gbk", "gb18030"])
def test_every_encoding_gives_the_same_text(encoding, name):
    text = "id,标题\r\n0012345,红色连衣裙 ①\r\n"
    assert text.encode(name).decode(encoding(text.encode(name))) == text


def test_a_western_file_is_no_chinese_one(encoding):
    text = "id,name\r\n1,Müller\r\n2,Zoë\r\n3,Peña\r\n4,São Paulo\r\n"
    assert encoding(text.encode("cp1252")) == "cp1252"


def test_what_reads_well_in_two_encodings_is_refused_with_the_way_out(encoding):
    with pytest.raises(InputError, match=r"may be .*save it as CSV UTF-8, or declare .*review\.encoding"):
        encoding("id,name\n1,NOÇÃO\n".encode("cp1252"))
    assert encoding("id,name\n1,NOÇÃO\n".encode("cp1252"), "cp1252") == "cp1252"


def test_a_mark_and_utf_8_go_before_what_is_declared(encoding):
    for name in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le"):
        data = "id,名\n".encode(name)
        assert data.decode(encoding(data, "cp1252")) == "id,名\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04...", "an .xlsx workbook"),
        (b"\xd0\xcf\x11\xe0...", "an .xls workbook"),
        (b"\xef\xbb\xbfid,\xff", "not utf-8-sig as a whole"),
        (b"\xff\xfei\x00d", "not utf-16 as a whole"),
        (b"id,x\xff\x81\xffy\x90z", "no encoding known here"),
    ],
)
def test_what_is_no_text_is_refused(encoding, data, message):
    with pytest.raises(InputError, match=message):
        encoding(data)


def test_declared_and_wrong_is_refused(encoding):
    with pytest.raises(InputError, match="not gb18030 as a whole"):
        encoding(b"id,caf\xe9,1", "gb18030")


@pytest.mark.parametrize(
    ("header", "delimiter"), [("a,b;c,d\n;;;;", ","), ('a;"x,y,z";b', ";"), ("a\tb\tc,d\r,,,,", "\t")]
)
def test_the_delimiter_is_the_commonest_of_the_header(tmp_path, header, delimiter):
    assert delimiter_of(io.StringIO(header, newline="").readline(), tmp_path) == delimiter


@given(
    st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=6), min_size=1, max_size=4), max_size=8)
)
def test_what_csv_writes_is_read_back_with_the_lines_it_stands_on(tmp_path_factory, rows):
    text = io.StringIO(newline="")
    lines = []
    for row in rows:
        lines.append(1 + len(list(io.StringIO(text.getvalue(), newline=""))))
        csv.writer(text, quoting=csv.QUOTE_ALL).writerow(row)
    found = list(records(io.StringIO(text.getvalue(), newline=""), ",", tmp_path_factory.getbasetemp()))
    assert [list(record.cells) for record in found] == rows
    assert [record.line for record in found] == lines
    assert not any(record.error for record in found)


def test_a_broken_record_is_told_whole_and_the_next_line_goes_on(tmp_path):
    first, broken, last = records(io.StringIO('a,b\n"x"y,"1\n2,3\n'), ",", tmp_path)
    assert (broken.line, broken.cells) == (2, ('"x"y,"1',)) and broken.error
    assert first.cells == ("a", "b") and last.cells == ("2", "3")


def test_a_quote_never_closed_is_refused_with_its_line(tmp_path):
    with pytest.raises(InputError, match="line 2: a quote is opened and never closed"):
        list(records(io.StringIO('a,b\n"x,y\n1,2\n'), ",", tmp_path))
