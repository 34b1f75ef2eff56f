"""CSV product tables: text stays text, fields are counted, and no line is lost unseen."""

import csv
import io
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.datasets.tables.table import TableSpec, open_table
from mmprod.storage.errors import InputError

PLAIN = TableSpec()
TITLES = ["红色连衣裙 女 夏季", "北欧实木餐桌", "不锈钢保温杯 500ml", "儿童运动鞋 防滑"]
MORE = [
    *("极简风客厅灯 现代简约", "纯棉四件套 床上用品", "无线蓝牙耳机 降噪", "男士真皮钱包 短款"),
    *("家用电热水壶 自动断电", "宠物猫粮 成猫专用", "加厚羊毛大衣 中长款", "办公椅 人体工学"),
]


def save(folder: Path, text: str | bytes, encoding: str = "utf-8") -> Path:
    path = folder / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def read(
    path: Path, spec: TableSpec = PLAIN, batch_rows: int = 10_000
) -> tuple[dict[str, str], dict[str, str]]:
    """Titles of the accepted rows by id, and reasons of the refused ones by source."""
    batches = list(open_table(path, spec).batches(batch_rows))
    identities = list(open_table(path, spec).identities(batch_rows))
    ids = [i for batch in batches for i in batch.accepted["product_id"].to_pylist()]
    assert ids == [i for batch in identities for i in batch.ids]
    accepted = {row["product_id"]: row["title"] for b in batches for row in b.accepted.to_pylist()}
    return accepted, {row.source: row.reason for b in batches for row in b.refused}


def test_values_stay_text(tmp_path: Path) -> None:
    path = save(
        tmp_path, 'product_id,title,sales,spu_id\n0012345,NA,,007\nNA,"a ""b"", c",12,\n12E5,1.0,7,NULL\n'
    )
    table = open_table(path, PLAIN)
    assert table.rows is None
    (batch,) = table.batches()
    rows = batch.accepted.select(["product_id", "title", "sales", "spu_id"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("0012345", "NA", None, "007"),
        ("NA", 'a "b", c', 12, None),
        ("12E5", "1.0", 7, "NULL"),
    ]
    assert batch.sources == ["t.csv:2", "t.csv:3", "t.csv:4"]


def test_all_kinds_of_columns(tmp_path: Path) -> None:
    path = save(
        tmp_path,
        "sku;name;photo;l1;l2;colour;when;gone\n"
        "1;Lamp;a/1.jpg;Home;Lamps;red;2024-02-29 10:00:00;0\n"
        "2;Mug;https://example.com/2.jpg;Home;;;2024-02-29T10:00:00+08:00;TRUE\n",
    )
    columns = {
        "product_id": "sku",
        "title": "name",
        "image": "photo",
        "updated_at": "when",
        "deleted": "gone",
    }
    (batch,) = open_table(path, TableSpec(columns, ("l1", "l2"), ("colour",))).batches()
    first, second = batch.accepted.to_pylist()
    assert (first["image"], first["image_path"], first["image_url"]) == (None, "a/1.jpg", None)
    assert (second["image_path"], second["image_url"]) == (None, "https://example.com/2.jpg")
    assert (first["category"], second["category"]) == (["Home", "Lamps"], ["Home"])
    assert (first["attributes"], second["attributes"]) == ([("colour", "red")], None)
    assert (first["updated_at"] - second["updated_at"]).total_seconds() == 8 * 3600
    assert (first["deleted"], second["deleted"]) == (False, True)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "gbk", "gb18030", "gb2312", "utf-16-le with mark"]
)
@pytest.mark.parametrize("titles", [TITLES + MORE, ["灯"], ["Nike shirt"] * 300 + ["灯"]])
def test_encodings_are_found_or_asked_for(tmp_path: Path, encoding: str, titles: list[str]) -> None:
    text = "product_id,title\r\n" + "".join(f"{n},{title}\r\n" for n, title in enumerate(titles))
    data = b"\xff\xfe" + text.encode("utf-16-le") if "mark" in encoding else text.encode(encoding)
    path = save(tmp_path, data)
    if encoding.startswith("gb") and "灯" in titles:  # a single word says too little
        with pytest.raises(InputError, match=r"not UTF-8 and may be gb18030 or .* declare table\.encoding"):
            open_table(path, PLAIN)
        return
    accepted, refused = read(path)
    assert list(accepted.values()) == titles
    assert not refused


@pytest.mark.parametrize(
    ("encoding", "titles"),
    [
        ("cp1252", ["Robe d'été rouge", "Crème brûlée", "Küchentisch aus Eiche", "Señora zapatos niño"] * 4),
        ("big5", ["紅色連衣裙 女 夏季", "北歐實木餐桌", "保溫杯 500ml", "兒童運動鞋 防滑"] * 4),
        ("shift_jis", ["赤いドレス レディース", "木製テーブル", "ステンレスボトル"] * 4),
    ],
)
def test_other_encodings_with_enough_text_to_tell(tmp_path: Path, encoding: str, titles: list[str]) -> None:
    text = "product_id,title\n" + "".join(f"{n},{title}\n" for n, title in enumerate(titles))
    assert list(read(save(tmp_path, text, encoding))[0].values()) == titles


def test_a_declared_encoding_must_exist_and_fit(tmp_path: Path) -> None:
    text = "product_id,title\n" + "1,café\n" * 3
    path = save(tmp_path, text, "latin-1")
    assert read(path, TableSpec(encoding="latin-1"))[0] == {"1": "café"}
    with pytest.raises(InputError, match=r"t\.csv is not utf-8: byte 22"):
        open_table(path, TableSpec(encoding="utf-8"))
    with pytest.raises(InputError, match="no text encoding 'utf-9'"):
        open_table(path, TableSpec(encoding="utf-9"))


def test_an_encoding_that_breaks_off_is_refused(tmp_path: Path) -> None:
    whole = ("product_id,title\n" + "1,灯具\n" * 50).encode("utf-16")
    with pytest.raises(InputError, match="encoding"):
        open_table(save(tmp_path, whole[:-1]), PLAIN)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(tmp_path: Path, delimiter: str, newline: str) -> None:
    lines = [
        ("product_id", "title", '"x,;|\ty"'),
        ("1", "a", "b"),
        ("", "", ""),
        ("2", '"p\nq"', ""),
        ("3", "c", ""),
    ]
    text = newline.join(delimiter.join(line) for line in lines) + newline * 3
    path = save(tmp_path, text)
    spec = TableSpec(quote='"')
    accepted, refused = read(path, spec)
    assert accepted == {"1": "a", "2": "p\nq", "3": "c"}
    assert refused == {"t.csv:3": "id_missing"}
    (batch,) = open_table(path, spec).batches()
    assert batch.sources == ["t.csv:2", "t.csv:4", "t.csv:6"]
    assert read(path, TableSpec(delimiter=delimiter, quote='"')) == (accepted, refused)


def test_rows_that_are_refused_with_their_line(tmp_path: Path) -> None:
    long = "x" * (csv.field_size_limit() + 1)
    text = f'product_id,title\n1,a\n2\n3,b,c\n\n4,"b"c\n5,{long}\n6.28E+15,d\n7,"e\nf"\n8,g\n'
    accepted, refused = read(save(tmp_path, text), batch_rows=2)
    assert accepted == {"1": "a", "7": "e\nf", "8": "g"}
    assert refused == {
        "t.csv:3": "ragged",
        "t.csv:4": "ragged",
        "t.csv:6": "bad_quote",
        "t.csv:7": "field_too_long",
        "t.csv:8": "id_scientific",
    }


@pytest.mark.parametrize(
    "rows",
    [
        '1,"a\n2,b\n3,c\n',  # to the end of the file
        '1,"a\n2,"b"\n3,c\n',  # up to the next quote, which opens another field
        '1,"a\n2,b\n3,c",d\n4,e\n',  # closed later on, in a row that is too wide
        '1,"' + "a\n2,b\n" * 50_000,  # beyond the longest field
    ],
)
def test_a_quote_that_is_not_closed_names_its_line(tmp_path: Path, rows: str) -> None:
    path = save(tmp_path, "product_id,title\n0,z\n" + rows)
    table = open_table(path, PLAIN)
    for pass_over in (table.identities, table.batches):
        with pytest.raises(InputError, match=r"t\.csv: the quote opened on line 3"):
            list(pass_over())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no rows"),
        ("product_id,title\n", "no rows"),
        ("product_id,title\n\n\n", "no rows"),
        ("product_id,title,title\n1,a,b\n", "repeated columns title"),
        ("product_id, title ,title\n1,a,b\n", "repeated columns title"),
        ('product_id,"title"x\n1,a\n', "header"),
        ("1,a\n2,b\n", "no column for product_id"),
        ("product_id,name\n1,a\n", "no column for title"),
        ("product_id,title\n1,a\n".replace("\n", " ") * 900_000, "longer than"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_when_opened(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_table(save(tmp_path, text), PLAIN)


def test_a_nameless_last_column_is_passed_over(tmp_path: Path) -> None:
    assert read(save(tmp_path, "product_id , title,\n1,a,\n2,b,x\n"))[0] == {"1": "a", "2": "b"}


def test_long_rows_come_in_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmprod.datasets.tables.csv_table._MAX_BATCH", 1000)
    text = "product_id,title\n" + "".join(f"{n},{'x' * 400}\n" for n in range(10))
    assert [len(b.sources) for b in open_table(save(tmp_path, text), PLAIN).batches()] == [3, 3, 3, 1]


FIELD = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=6),
    st.sampled_from(['"', '"a"', '""', '"a""b"', '"a,b"', 'a"b', "6.28E+15", "NA", "", ",", "x,y"]),
)


@given(
    st.lists(st.lists(FIELD, min_size=1, max_size=4).map(",".join), min_size=1, max_size=12),
    st.integers(1, 4),
)
def test_accepted_and_refused_are_all_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], batch_rows: int
) -> None:
    """Lines of well and badly formed fields: each is a row on its own, or the file is refused."""
    path = save(tmp_path_factory.mktemp("random"), "product_id,title,brand\n" + "\n".join(lines) + "\n")
    filled = [f"t.csv:{n}" for n, line in enumerate(lines, 2) if line]
    try:
        batches = list(open_table(path, TableSpec(delimiter=",")).batches(batch_rows))
    except InputError as error:
        assert any(line.count('"') for line in lines) or not filled, error
        return
    found = [source for b in batches for source in (*b.sources, *(row.source for row in b.refused))]
    assert len(found) == len(set(found))
    assert set(found) <= set(filled)
    inside = ""  # the line before, where a line that is no row of its own is part of its quoted field
    for source in filled:
        inside = lines[int(source[6:]) - 2] if source in found else inside
        assert source in found or '"' in inside


@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8"), max_size=8),
            st.text(st.characters(codec="utf-8"), max_size=8),
        ),
        min_size=1,
        max_size=8,
    ),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
)
def test_what_csv_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str, encoding: str
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("product_id", "title", "brand"), *((n, *row) for n, row in enumerate(rows))])
    path = save(tmp_path_factory.mktemp("written"), out.getvalue(), encoding)
    try:
        accepted, refused = read(path, TableSpec(encoding=encoding))
    except InputError as error:  # a text that holds what would be a row by itself
        assert "takes in line" in str(error)
        assert any(f"{delimiter}" in text and ("\n" in text or "\r" in text) for row in rows for text in row)
        return
    assert accepted == {str(n): title or None for n, (title, _) in enumerate(rows)}
    assert not refused


def test_mutated_files_balance_or_are_refused(tmp_path: Path) -> None:
    dice = random.Random(11)
    whole = ("product_id,title,brand\n" + "".join(f"{n},{TITLES[n % 4]},b\n" for n in range(60))).encode()
    outcomes = {"read": 0, "refused": 0}
    for _ in range(200):
        spoiled = bytearray(whole)
        for _ in range(dice.choice([1, 2, 8])):
            spoiled[dice.randrange(23, len(whole))] = dice.choice(b'",\n\0x;\xff0')
        path = save(tmp_path, bytes(spoiled))
        try:
            batches = list(open_table(path, TableSpec(encoding="latin-1")).batches(7))
        except InputError as error:
            assert "t.csv" in str(error)
            outcomes["refused"] += 1
            continue
        text = spoiled.decode("latin-1")
        oracle = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
        assert sum(len(b.sources) + len(b.refused) for b in batches) == len(oracle) - 1
        outcomes["read"] += 1
    assert min(outcomes.values()) > 5, outcomes
