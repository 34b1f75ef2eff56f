"""An embedding table of a version that did not record backends: read as it is, brought up with a write."""

from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.schemas import embedding_schema
from mmprod.datasets.vectors import to_column

WIDTH, NEW = 4, ("image_backend", "text_backend")


def rows(table: EmbeddingTable, names: str, backend: str | None = "onnx-fp32") -> pa.Table:
    """Products of one letter each, with both vectors."""
    vectors = to_column(np.eye(len(names), WIDTH, dtype=np.float16), np.ones(len(names), bool))
    columns = {
        "product_id": list(names),
        "image_hash": [name.encode() * 16 for name in names],
        "text_hash": [name.upper().encode() * 16 for name in names],
        "image": vectors,
        "text": vectors,
        "image_reason": [None] * len(names),
        "live": [True] * len(names),
        **dict.fromkeys(NEW, [backend] * len(names)),
    }
    given = [columns[field.name] for field in table.schema]
    arrays = [
        a if isinstance(a, pa.Array) else pa.array(a, f.type)
        for a, f in zip(given, table.schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=table.schema)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A table with products a and b, as the version before wrote it."""
    table = EmbeddingTable(tmp_path, "encoder", WIDTH, 1)
    lance.dataset(table.path).drop_columns(list(NEW))
    table._publish(replace(table.pointer, version=lance.dataset(table.path).version))
    table.pointer = replace(table.pointer, version=lance.dataset(table.path).version)
    table.schema = pa.schema([field for field in embedding_schema(WIDTH) if field.name not in NEW])
    table.upsert(rows(table, "ab"), (2,))
    assert not set(NEW) & set(table.dataset.schema.names)
    return tmp_path


def opened(root: Path) -> EmbeddingTable:
    return EmbeddingTable(root, "encoder", WIDTH, 1)


def test_it_is_read_without_being_changed(root: Path) -> None:
    table = opened(root)
    found = table.lookup(["a"])["a"]
    assert (found.image_backend, found.text_backend) == (None, None) and found.image is not None
    assert table.vectors("image", [b"a" * 16])[b"a" * 16].backend is None
    assert pa.Table.from_batches(table.batches(), table.schema).num_rows == 2
    assert table.backends() == {"image": {"": 2}, "text": {"": 2}}
    assert table.known("text", [b"A" * 16, b"C" * 16]) == {b"A" * 16}
    assert not set(NEW) & set(opened(root).dataset.schema.names)


def test_the_next_write_adds_what_is_missing_and_keeps_the_rest(root: Path) -> None:
    before = opened(root).lookup(["a", "b"])
    opened(root).upsert(rows(opened(root), "bc"), (3,))
    table = opened(root)
    assert table.backends() == {"image": {"": 1, "onnx-fp32": 2}, "text": {"": 1, "onnx-fp32": 2}}
    assert np.array_equal(table.lookup(["a"])["a"].image, before["a"].image)  # type: ignore[arg-type]
    assert table.verify() == []
    table.tidy()
    assert opened(root).backends()["image"] == {"": 1, "onnx-fp32": 2}
    assert opened(root).verify() == [] and opened(root).count() == 3


def test_a_writer_that_died_after_adding_them_has_changed_nothing(root: Path) -> None:
    dead = lance.dataset(opened(root).path, version=opened(root).pointer.version)
    dead.add_columns(pa.schema([pa.field(name, pa.string()) for name in NEW]))
    assert opened(root).backends()["image"] == {"": 2}
    opened(root).upsert(rows(opened(root), "c"), (3,))
    assert opened(root).backends()["image"] == {"": 2, "onnx-fp32": 1}


def test_what_has_no_vector_has_no_backend_and_removed_products_do_not_count(tmp_path: Path) -> None:
    table = opened(tmp_path)
    given = rows(table, "ab").to_pylist()
    given[0] |= {"image": None, "image_backend": None, "image_reason": "truncated"}
    given[1] |= {"live": False}
    table.upsert(pa.Table.from_pylist(given, table.schema), (2,))
    assert table.backends() == {"image": {}, "text": {"onnx-fp32": 1}}
