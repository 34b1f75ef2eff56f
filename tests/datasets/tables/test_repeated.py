"""Several rows of one id: newest row, parts of a product, or a question back."""

from pathlib import Path
from typing import Any

import pytest

from mmprod.datasets.tables.table import TableSpec, open_table
from mmprod.storage.errors import InputError

PARTS = TableSpec(
    columns={"product_id": "Handle", "title": "Title", "image_path": "Image Src", "brand": "Vendor"},
    rows="first_non_empty",
)
SHOPIFY = """Handle,Title,Vendor,Image Src,sales
lamp,Old lamp,Ember,l1.jpg,3
mug,Red mug,Ember,m1.jpg,
mug,,,m2.jpg,7
mug,,,m1.jpg,
vase,Vase,Ember,v1.jpg,1
mug,,,m3.jpg,
"""


def rows(path: Path, spec: TableSpec, batch_rows: int) -> list[dict[str, Any]]:
    table = open_table(path, spec)
    batches = list(table.batches(batch_rows))
    found = [row for batch in batches for row in batch.accepted.to_pylist()]
    assert [row["product_id"] for row in found] == [
        i for batch in open_table(path, spec).identities(batch_rows) for i in batch.ids
    ]
    assert all(len(batch.sources) == batch.accepted.num_rows for batch in batches)
    assert sum(batch.accepted.num_rows + batch.merged for batch in batches) == 6
    return found


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 100])
def test_parts_of_a_product_fill_what_is_empty(tmp_path: Path, batch_rows: int) -> None:
    path = tmp_path / "t.csv"
    path.write_text(SHOPIFY)
    lamp, vase, mug = rows(path, PARTS, batch_rows)
    assert (lamp["product_id"], vase["product_id"]) == ("lamp", "vase")
    assert (mug["title"], mug["brand"], mug["sales"], mug["image_path"]) == ("Red mug", "Ember", 7, "m1.jpg")
    assert mug["pictures"] == ["m2.jpg", "m3.jpg"]  # in their order, each once
    assert lamp["pictures"] is None


def test_undeclared_rows_that_would_erase_ask_back(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(SHOPIFY)
    table = open_table(path, TableSpec(columns=PARTS.columns))
    with pytest.raises(
        InputError, match=r"t\.csv:4: a later row of 'mug' has no brand, title, which t\.csv:3 has"
    ):
        table.check_repeated({"mug"})
    open_table(path, TableSpec(columns=PARTS.columns, rows="one")).check_repeated({"mug"})


def test_whole_rows_need_no_declaration(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("product_id,title,brand\na,Lamp,\na,Lamp 2,Ember\nb,Mug,\nb,Mug,\n")
    open_table(path, TableSpec()).check_repeated({"a", "b"})
