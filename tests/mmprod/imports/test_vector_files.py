"""Files of vectors made elsewhere: what is taken, and what is left out or refused and why."""

from collections.abc import Callable
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmprod.datasets.embeddings.vector_checks import unit
from mmprod.datasets.embeddings.vector_files import VectorFile
from mmprod.storage.errors import InputError

WIDTH, IDS = 16, [f"p{number:02d}" for number in range(30)]


def some(seed: int = 0, count: int = len(IDS), width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32) * 7


def listed(matrix: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


def normal(matrix: np.ndarray) -> np.ndarray:
    """The oracle: unit length, in float64."""
    wide = matrix.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def as_fixed_lists(shop: Any, m: np.ndarray) -> VectorFile:
    return VectorFile(shop.parquet(product_id=IDS, emb=listed(m)))


def as_lists_of_float64(shop: Any, m: np.ndarray) -> VectorFile:
    return VectorFile(shop.parquet(sku=IDS, emb=m.astype(np.float64).tolist(), other=IDS), id_column="sku")


def as_lists_of_float16(shop: Any, m: np.ndarray) -> VectorFile:
    column = pa.array(list(m.astype(np.float16)), pa.large_list(pa.float16()))
    return VectorFile(shop.parquet(product_id=IDS, emb=column, more=column), column="emb")


def as_bytes(shop: Any, m: np.ndarray) -> VectorFile:
    column = pa.array([row.astype("<f8").tobytes() for row in m])
    return VectorFile(shop.parquet(product_id=IDS, emb=column), floats="float64")


def as_lance(shop: Any, m: np.ndarray) -> VectorFile:
    path = shop.folder / "v.lance"
    lance.write_dataset(pa.table({"product_id": IDS, "emb": listed(m)}), path, max_rows_per_file=11)
    return VectorFile(path)


def as_array(shop: Any, m: np.ndarray) -> VectorFile:
    np.save(shop.folder / "v.npy", np.asfortranarray(m.astype(">f4")))
    (shop.folder / "ids.txt").write_text("\r\n".join(IDS))
    return VectorFile(shop.folder / "v.npy", ids=shop.folder / "ids.txt")


def as_folder(shop: Any, m: np.ndarray) -> VectorFile:
    (shop.folder / "parts").mkdir()
    for start in (0, 20):
        part = slice(start, start + 20)
        shop.parquet(f"parts/{start:02d}.parquet", product_id=IDS[part], image=listed(m[part]))
    return VectorFile(shop.folder / "parts")


FORMS = [as_fixed_lists, as_lists_of_float64, as_lists_of_float16, as_bytes, as_lance, as_array, as_folder]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_of_file_gives_the_same_unit_vectors(
    shop: Any, form: Callable[[Any, np.ndarray], VectorFile]
) -> None:
    m = some()
    done = shop.take(form(shop, m))
    assert (done.rows, done.changed, done.reused, done.refused) == (30, 30, 0, 0)
    rows = shop.rows()
    np.testing.assert_allclose(np.stack([rows[name].image for name in IDS]), normal(m), atol=2e-3)
    assert all(row.text is None and row.live and row.image_reason is None for row in rows.values())
    assert {row.image_backend for row in rows.values()} == {"import"}


@given(
    arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        st.tuples(st.integers(1, 4), st.integers(1, 5)),
        elements={"allow_nan": True, "allow_infinity": True},
    )
)
@settings(max_examples=100, deadline=None)
def test_every_row_is_of_unit_length_or_told_as_zero_or_not_finite(m: np.ndarray) -> None:
    found, finite, zero = unit(m)
    np.testing.assert_array_equal(finite, np.isfinite(m).all(axis=1))
    np.testing.assert_array_equal(zero, (m == 0).all(axis=1))
    good = found[finite & ~zero].astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(good, axis=1), 1, atol=2e-3)
    wide = m[finite & ~zero].astype(np.float64)
    largest = np.abs(wide).max(axis=1, keepdims=True)
    np.testing.assert_allclose(good, normal(wide / largest), atol=2e-3)


def test_rows_that_cannot_be_used_are_left_out_and_listed(shop: Any) -> None:
    m = some().astype(np.float64)
    m[1, 3], m[2, 0], m[3] = np.nan, np.inf, 0
    m[4] *= 1e200
    ids = [*IDS[:28], "stranger", None]
    text = [None, *some(1).tolist()[1:]]
    done = shop.take(
        shop.parquet(product_id=ids, image=listed(m), text=pa.array(text, pa.list_(pa.float32())))
    )
    assert done.refused == 5
    left = pq.read_table(done.detail["left_out"]).to_pylist()
    assert sorted((row["row"], row["product_id"], row["modality"], row["reason"]) for row in left) == [
        (2, "p01", "image", "not_finite"),
        (3, "p02", "image", "not_finite"),
        (4, "p03", "image", "zero"),
        (29, "stranger", None, "not_in_store"),
        (30, None, None, "id_missing"),
    ]
    rows = shop.rows()
    assert rows["p01"].image is None and rows["p01"].text is not None
    assert rows["p00"].text is None and rows["p00"].image is not None
    np.testing.assert_allclose(rows["p04"].image, normal(some())[4], atol=2e-3)
    assert not {"p28", "p29"} & rows.keys()


def test_files_that_are_no_vectors_of_products_are_refused_with_nothing_changed(shop: Any) -> None:
    m, folder = some(), shop.folder
    ragged = [row[: 15 if number == 12 else 16].tolist() for number, row in enumerate(m)]
    (folder / "short.txt").write_text("\n".join(IDS[:29]))
    (folder / "long.txt").write_text("\n".join([*IDS, "more"]))
    np.save(folder / "v.npy", m)
    np.save(folder / "flat.npy", m.reshape(-1))
    whole = shop.parquet("whole.parquet", product_id=IDS, image=listed(m)).read_bytes()
    (folder / "cut.parquet").write_bytes(whole[:-100])
    flipped = bytearray(whole)
    flipped[300:340] = bytes(40)
    (folder / "flipped.parquet").write_bytes(flipped)
    (folder / "cut.npy").write_bytes((folder / "v.npy").read_bytes()[:-100])
    npy = VectorFile(folder / "v.npy")
    cases = [
        (shop.parquet("r.parquet", product_id=IDS, e=ragged), r"vector of row 13 has 15 numbers, .* 16"),
        (shop.parquet("i.parquet", product_id=IDS, image=listed(m.astype(np.int32))), "which column"),
        (
            VectorFile(shop.parquet("e.parquet", product_id=IDS, e=listed(m.astype(np.int8))), column="e"),
            "int8",
        ),
        (VectorFile(shop.parquet("c.parquet", product_id=IDS, e=listed(m)), column="f"), "no column 'f'"),
        (shop.parquet("n.parquet", sku=IDS, e=listed(m)), "no column 'product_id'.*--id"),
        (shop.parquet("t.parquet", product_id=IDS, a=listed(m), b=listed(m)), r"which column .*--column"),
        (shop.parquet("u.parquet", product_id=[f"q{i}" for i in range(30)], e=listed(m)), "30 not_in_store"),
        (
            shop.parquet("d.parquet", product_id=[*IDS[:28], "p05", "x"], e=listed(m)),
            r"1 ids are in several rows, such as 'p05' in rows 6, 29",
        ),
        (
            shop.parquet("w.parquet", product_id=IDS, image=listed(m), text=listed(some(width=8))),
            "text vector of row 1 has 8 numbers, the first vector 16",
        ),
        (
            VectorFile(shop.parquet("b.parquet", product_id=IDS, e=[b"12345678", b"123456"] * 15)),
            "bytes of row 2 are no float32 numbers.*--column",
        ),
        (folder / "cut.parquet", "not a complete Parquet file"),
        (folder / "flipped.parquet", "can't be read"),
        (folder / "none.parquet", "is not there"),
        (npy, "holds no ids.*--ids"),
        (VectorFile(folder / "v.npy", ids=folder / "short.txt"), "29 ids for the 30 vectors"),
        (VectorFile(folder / "v.npy", ids=folder / "long.txt"), "more ids than the 30 vectors"),
        (VectorFile(folder / "flat.npy", ids=folder / "long.txt"), r"float32\[480\], want a row"),
        (VectorFile(folder / "cut.npy", ids=folder / "long.txt"), "not a complete NumPy array"),
    ]
    for file, told in cases:
        with pytest.raises(InputError, match=told):
            shop.take(file)
        assert not shop.lake.embedding_roots(), told
        assert not shop.lake.imports.exists()
    assert not list(shop.lake.quarantine.glob(".*"))
    with pytest.raises(InputError, match=r"nothing was imported under this name yet"):
        shop.embed()
