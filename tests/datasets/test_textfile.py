import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.datasets.errors import InputError
from mmprod.datasets.textfile import delimiter_of, encoding_of, records


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gbk", "gb18030"]
)
def test_every_encoding_gives_the_same_text(tmp_path, encoding):
    text = "id,标题\r\n0012345,红色连衣裙 ①\r\n"
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    with (tmp_path / "t.csv").open(encoding=encoding_of(tmp_path / "t.csv", 1000), newline="") as file:
        assert file.read() == text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"x" * 101, "has 101 bytes, the limit is 100"),
        (b"PK\x03\x04...", "an .xlsx workbook"),
        (b"\xd0\xcf\x11\xe0...", "an .xls workbook"),
        (b"\xef\xbb\xbfid,\xff", "neither UTF-8"),
        (b"id,caf\xe9,1", "neither UTF-8"),
        (b"\xff\xfei\x00d", "neither UTF-8"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, data, message):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(InputError, match=message):
        encoding_of(tmp_path / "t.csv", 100)


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
