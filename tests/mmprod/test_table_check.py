"""What `mmprod table check` says of a feed, and the settings it writes."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from mmprod.cli.app import app
from mmprod.config import load
from mmprod.datasets.tables.table import open_table

SHOPIFY = """Handle,Title,Vendor,Published,Image Src,Variant SKU
mug,Red mug,Ember,true,m1.jpg,M1
mug,,,,m2.jpg,M2
lamp,Lamp,Ember,false,l1.jpg,L1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 20)).save(tmp_path / "m1.jpg")
    return tmp_path


def check(*words: str) -> tuple[int, dict]:  # type: ignore[type-arg]
    result = CliRunner().invoke(app, ["table", "check", *words, "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_settings_are_proposed_written_and_then_read(folder: Path) -> None:
    (folder / "shop.csv").write_text(SHOPIFY)
    code, told = check("shop.csv", "--write", "mmprod.toml")
    assert (code, told["dialect"], told["proposed"]) == (0, "Shopify", True)
    assert (told["rows"], told["accepted"], told["merged"], told["gone"]) == (3, 2, 1, 1)
    assert [p["picture"] for p in told["products"]] == ["m1.jpg", "l1.jpg: missing below ."]
    spec = load(folder / "mmprod.toml").config.table_spec
    rows = [
        row for batch in open_table(folder / "shop.csv", spec).batches() for row in batch.accepted.to_pylist()
    ]
    assert [(row["product_id"], row["pictures"], row["deleted"]) for row in rows] == [
        ("mug", ["m2.jpg"], False),
        ("lamp", None, True),
    ]
    code, told = check("shop.csv")
    assert (code, told["proposed"]) == (0, False)
    assert not (folder / "lake").exists()
    result = CliRunner().invoke(app, ["table", "check", "shop.csv", "--write", "mmprod.toml"])
    assert result.exit_code == 2 and "has a section [table] already" in result.output


def test_a_second_header_is_proposed_to_be_skipped(folder: Path) -> None:
    text = (
        "version 1.00\ntitle\tcid\tpicture\touter_id\n宝贝名称\t类目\t新图片\t商家编码\n红杯\t5\tr.jpg\tS1\n"
    )
    (folder / "items.csv").write_bytes(text.encode("utf-16"))
    code, told = check("items.csv")
    assert (code, told["settings"]["skip_rows"], told["rows"]) == (0, [1, 3], 1)
    assert told["form"] == {
        "kind": "CSV", "encoding": "utf-16", "delimiter": "tab", "quote": "none: quotes are letters",
        "header": "line 2",
    }  # fmt: skip


def test_what_would_be_refused_and_why(folder: Path) -> None:
    (folder / "t.csv").write_text("product_id,title,sales\n1.2E+10,a,1\nb,B,many\nc,C\nb,,3\n")
    code, told = check("t.csv")
    assert code == 2 and "a later row of 'b' has no title" in told["problem"]
    assert told["reasons"] == {"ragged": 1, "id_scientific": 1}
    assert told["first"]["id_scientific"] == "t.csv:2 id_scientific"
    assert (told["unread"], told["repeated"]) == ({"sales": 1}, 1)


def test_people_get_tables_and_a_reason(folder: Path) -> None:
    (folder / "shop.csv").write_text(SHOPIFY)
    result = CliRunner().invoke(app, ["table", "check", "shop.csv"])
    assert result.exit_code == 0
    for word in ("Shopify", "first_non_empty", "Red mug", "usable", "utf-8"):
        assert word in result.stdout
    (folder / "odd.csv").write_text("a,b\n1,2\n")
    result = CliRunner().invoke(app, ["table", "check", "odd.csv", "--write", "odd.toml"])
    assert result.exit_code == 2 and "there is no column for product_id" in result.stdout
    assert "odd.toml was not written" in result.stdout and not (folder / "odd.toml").exists()
