"""Feeds as shops and their programs write them; each is small, and says what became of every row."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmprod.datasets.tables.mapping import Live, TableSpec
from mmprod.datasets.tables.table import open_table
from mmprod.storage.errors import InputError

GOOGLE = TableSpec(
    columns={
        "product_id": "id",
        "image_path": "image_link",
        "category": "product_type",
        "spu_id": "item_group_id",
    },
    pictures=("additional_image_link",),
    separators={"pictures": ",", "category": ","},
    live=Live("availability", ("in_stock",)),
)


def read(path: Path, spec: TableSpec = TableSpec()) -> tuple[list[dict[str, Any]], dict[str, str]]:  # noqa: B008
    """Accepted rows, and reasons of the refused by where they stand."""
    batches = list(open_table(path, spec).batches())
    rows = [row for batch in batches for row in batch.accepted.to_pylist()]
    ids = [i for batch in open_table(path, spec).identities() for i in batch.ids]
    assert ids == [row["product_id"] for row in rows]
    return rows, {row.source: row.reason for batch in batches for row in batch.refused}


def test_google_merchant_with_tabs_takes_quotes_for_letters(tmp_path: Path) -> None:
    path = tmp_path / "feed.tsv"
    path.write_text(
        "id\ttitle\timage_link\tadditional_image_link\tavailability\tproduct_type\titem_group_id\n"
        'A1\tRound mug 12" wide\tr.jpg\trb.jpg,bf.jpg\tin_stock\tHome > Kitchen > Mugs\tG1\n'
        'A2\t"Old Town" vase\tg.jpg\t\tin_stock\tHome &gt; Vases\tG2\n'
        'A3\t"Classic lamp\ty.jpg\t\tin_stock\tHome > Lamps, Sale > Lamps\tG3\n'
        "A4\tPlain cup\tb.jpg\t\tout_of_stock\tHome > Cups\tG4\n"
    )
    rows, refused = read(path, GOOGLE)
    assert refused == {}
    assert [row["title"] for row in rows[:3]] == ['Round mug 12" wide', '"Old Town" vase', '"Classic lamp']
    assert [row["category"] for row in rows[1:3]] == [["Home", "Vases"], ["Home", "Lamps"]]
    assert (rows[2]["categories"], rows[0]["pictures"]) == (["Sale > Lamps"], ["rb.jpg", "bf.jpg"])
    assert [row["deleted"] for row in rows] == [False, False, False, True]


def test_google_merchant_as_xml(tmp_path: Path) -> None:
    path = tmp_path / "feed.xml"
    item = (
        "<item><g:id>{}</g:id><title>Mug &amp; saucer</title><g:image_link>https://x/{}.jpg</g:image_link>"
        "<g:additional_image_link>a.jpg</g:additional_image_link>"
        "<g:additional_image_link>b.jpg</g:additional_image_link>"
        "<g:product_type>Home &gt; Mugs</g:product_type><g:availability>in_stock</g:availability>"
        "<g:item_group_id>G</g:item_group_id></item>"
    )
    items = "".join(item.format(n, n) for n in range(3))
    path.write_text(
        '<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0" version="2.0">'
        f"<channel><title>Shop</title>{items}</channel></rss>"
    )
    spec = TableSpec(
        columns={**GOOGLE.columns, "image_path": "", "image_url": "image_link"},
        pictures=GOOGLE.pictures,
        live=GOOGLE.live,
    )
    rows, refused = read(path, spec)
    assert (len(rows), refused) == (3, {})
    first = rows[0]
    assert (first["product_id"], first["title"], first["image_url"]) == (
        "0",
        "Mug & saucer",
        "https://x/0.jpg",
    )
    assert (first["pictures"], first["category"]) == (["a.jpg", "b.jpg"], ["Home", "Mugs"])


def test_what_no_item_has_is_no_missing_column(tmp_path: Path) -> None:
    path = tmp_path / "feed.xml"
    path.write_text("<feed><entry><id>A1</id><title>Mug</title><image_link>r.jpg</image_link></entry></feed>")
    rows, _ = read(path, TableSpec(columns=GOOGLE.columns))
    assert [(row["product_id"], row["image_path"], row["category"]) for row in rows] == [
        ("A1", "r.jpg", None)
    ]
    with pytest.raises(InputError, match="no column 'name'"):
        open_table(path, TableSpec(columns={**GOOGLE.columns, "title": "name"}))


@pytest.mark.parametrize("text", ["<rss><channel><item><id>1</id>", "<rss></rss>", "not xml", ""])
def test_xml_that_is_cut_or_empty_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "feed.xml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"feed\.xml"):
        open_table(path, TableSpec(columns={"product_id": "id"}))


def test_an_entity_that_would_grow_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "feed.xml"
    lol = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    path.write_text(f'<!DOCTYPE x [<!ENTITY a0 "lol">{lol}]><rss><item><id>&a11;</id></item></rss>')
    with pytest.raises(InputError, match=r"feed\.xml"):
        open_table(path, TableSpec(columns={"product_id": "id"}))


def test_woocommerce(tmp_path: Path) -> None:
    path = tmp_path / "wc.csv"
    path.write_text(
        "ID,Type,SKU,Name,Published,Categories,Images,Parent\n"
        '44,variable,TEE,Logo Tee,1,"Clothing > Tshirts, Sale","r.jpg, b.jpg",\n'
        "46,simple,VASE,Tall Vase,1,Home &amp; Garden > Vases,g.jpg,\n"
        '47,simple,PERF,Rose Scent,1,"Body Care > Perfume\\, Cologne",c.jpg,\n'
        "48,simple,LAMP,Draft Lamp,-1,Lighting,y.jpg,\n",
        encoding="utf-8-sig",
    )
    spec = TableSpec(
        columns={"product_id": "SKU", "title": "Name", "image_path": "Images", "category": "Categories"},
        separators={"category": ",", "image_path": ","},
        live=Live("Published", ("1",), ("0", "-1")),
    )
    rows, _ = read(path, spec)
    assert [row["category"] for row in rows] == [
        ["Clothing", "Tshirts"],
        ["Home & Garden", "Vases"],
        ["Body Care", "Perfume, Cologne"],
        ["Lighting"],
    ]
    assert (rows[0]["categories"], rows[0]["image_path"], rows[0]["pictures"]) == (
        ["Sale"],
        "r.jpg",
        ["b.jpg"],
    )
    assert [row["deleted"] for row in rows] == [False, False, False, True]


def test_a_word_that_says_neither_names_itself(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("product_id,title,state\na,A, In_Stock \nb,B,out\nc,C,soon\nd,D,\n")
    rows, refused = read(path, TableSpec(live=Live("state", ("in_stock",), ("out",))))
    assert [(row["product_id"], row["deleted"]) for row in rows] == [("a", False), ("b", True)]
    assert refused == {"t.csv:4": "live_unreadable:soon", "t.csv:5": "live_unreadable:"}
    gone = [
        list(batch.gone)
        for batch in open_table(path, TableSpec(live=Live("state", ("in_stock",)))).identities()
    ]
    assert gone == [[False, True, True]]  # whoever declares no other words means all of them


def test_ids_as_spreadsheets_protect_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        'product_id,title\n"=""0012345""",a\n\'0012346,b\n\xa00012347\u200b,c\n\xa0,d\n\u200b,e\n'
    )
    rows, refused = read(path)
    assert [row["product_id"] for row in rows] == ["0012345", "0012346", "0012347"]
    assert refused == {"t.csv:5": "id_missing", "t.csv:6": "id_missing"}
    (batch,) = open_table(path, TableSpec()).batches()
    assert batch.plain_ids == 3


def test_a_line_that_names_the_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("sep=;\nproduct_id;title\n1;Red mug\n2;Blue, wide mug\n")
    rows, _ = read(path)
    assert [row["title"] for row in rows] == ["Red mug", "Blue, wide mug"]
    (batch,) = open_table(path, TableSpec()).batches()
    assert batch.sources == ["t.csv:3", "t.csv:4"]


def test_titles_above_the_header_and_rows_that_are_none(tmp_path: Path) -> None:
    text = "version 1.00\r\ntitle\tcid\touter_id\r\n宝贝名称\t类目\t商家编码\r\n红色杯\t50012\tSKU1\r\n"
    path = tmp_path / "items.csv"
    path.write_bytes(text.encode("utf-16"))
    columns = {"product_id": "outer_id"}
    assert [row["product_id"] for row in read(path, TableSpec(columns=columns))[0]] == ["商家编码", "SKU1"]
    skipped = TableSpec(columns=columns, skip_rows=(1, 3))
    rows, _ = read(path, skipped)
    assert [(row["product_id"], row["title"]) for row in rows] == [("SKU1", "红色杯")]
    (batch,) = open_table(path, skipped).batches()
    assert batch.sources == ["items.csv:4"]


def swallowing(quote_at: int, end: int, delimiter: str) -> str:
    """Forty rows of which one opens a quote that a later one closes."""
    lines = [delimiter.join(("product_id", "image_path", "title"))]
    for n in range(40):
        title = '"Best dad mug' if n == quote_at else 'Screen 24"' if n == end else f"Mug {n}"
        lines.append(delimiter.join((f"{n:03}", "red.jpg", title)))
    return "\n".join(lines) + "\n"


def test_a_quote_that_swallows_rows_is_a_letter_where_tabs_separate(tmp_path: Path) -> None:
    path = tmp_path / "day.tsv"
    path.write_text(swallowing(10, 13, "\t"))
    rows, refused = read(path)
    assert (len(rows), refused) == (40, {})
    assert rows[10]["title"] == '"Best dad mug'


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
@pytest.mark.parametrize("end", [11, 13, 30])
def test_a_quote_that_swallows_rows_is_refused_with_its_line(
    tmp_path: Path, delimiter: str, end: int
) -> None:
    path = tmp_path / "day.csv"
    path.write_text(swallowing(10, end, delimiter))
    for read_on in ("identities", "batches"):
        table = open_table(path, TableSpec(quote='"'))
        with pytest.raises(
            InputError, match=r"day\.csv: the quote opened on line 12 takes in line 13, .*'011"
        ):
            list(getattr(table, read_on)())


def test_texts_of_several_lines_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        'product_id,title,brand\n001,"Lamp\nwarm, cosy, and bright\nE27, 9 W, dimmable",b\n002,"a\nb",c\n'
    )
    assert [row["product_id"] for row in read(path)[0]] == ["001", "002"]


def test_parquet_has_lists_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {
        "product_id": ["a", "b"],
        "title": ["A", "B"],
        "category": [["Home", "Lamps"], None],
        "more": [["2.jpg", "3.jpg"], []],
        "labels": pa.array(["Sale > Lamps, New", None]).dictionary_encode(),
        "stock": [1, 2],
    }
    pq.write_table(pa.table(columns), path)
    spec = TableSpec(
        columns={"categories": "labels"}, pictures=("more",), separators={"category": ",", "categories": ","}
    )
    rows, _ = read(path, spec)
    assert [row["category"] for row in rows] == [["Home", "Lamps"], None]
    assert [row["categories"] for row in rows] == [["Sale > Lamps", "New"], None]
    assert [row["pictures"] for row in rows] == [["2.jpg", "3.jpg"], None]
    with pytest.raises(InputError, match=r"column 'stock' of table\.pictures is int64"):
        open_table(path, TableSpec(pictures=("stock",)))
