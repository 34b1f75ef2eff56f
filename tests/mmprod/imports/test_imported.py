"""What works on vectors made elsewhere, and how their table follows the store and later imports."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmprod.datasets.embeddings.vector_files import VectorFile
from mmprod.reader import Reader
from mmprod.stages.daily.embed import read_embeddings
from mmprod.stages.daily.index import build_indexes
from mmprod.stages.daily.run import run_day
from mmprod.stages.daily.shard import encode_shard
from mmprod.stages.search.answer import Asked, answer
from mmprod.stages.search.query import Query
from mmprod.stages.search.similarity import similarity
from mmprod.stages.status import lake_status, verify_lake
from mmprod.stages.store import open_store
from mmprod.storage.errors import InputError, StateError

WIDTH, IDS = 16, [f"p{number:02d}" for number in range(30)]


def some(seed: int = 0, count: int = len(IDS), width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32) * 7


def listed(matrix: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


def normal(matrix: np.ndarray) -> np.ndarray:
    """The oracle: unit length, in float64."""
    wide = matrix.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def killed(shop: Any, when: str) -> None:
    """Import as a process of its own that is killed."""
    mmprod = Path(sys.executable).with_name("mmprod")
    line = [mmprod, "embeddings", "import", "v.parquet", "--encoder", "other"]
    environment = os.environ | {"MMPROD_FAULT": f"embed.committed:{when}:kill"}
    done = subprocess.run(line, cwd=shop.folder, env=environment, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr


def test_pictures_and_titles_may_come_in_one_file_or_one_after_the_other(shop: Any) -> None:
    image, text = some(1), some(2)
    shop.take(shop.parquet(product_id=IDS, image=listed(image), text=listed(text)))
    together = shop.rows()
    shop.take(shop.parquet("i.parquet", product_id=IDS, image=listed(image)), new=True)
    done = shop.take(VectorFile(shop.parquet("t.parquet", product_id=IDS, e=listed(text)), modality="text"))
    assert done.changed == 30
    for name, row in shop.rows().items():
        np.testing.assert_array_equal(row.image, together[name].image)
        np.testing.assert_array_equal(row.text, together[name].text)


def test_searches_by_product_are_brute_force_over_the_imported_vectors(shop: Any) -> None:
    image, text = some(3), some(4)
    shop.take(shop.parquet(product_id=IDS, image=listed(image), text=listed(text)))
    config, a, b = shop.config, normal(image), normal(text)
    with open_store(shop.lake, config) as store:
        build_indexes(shop.lake, config, store, read_embeddings(shop.lake, config), list(config.profiles))
    want = 0.7 * a @ a[0] + 0.3 * b @ b[0]
    order = [number for number in np.argsort(-want) if number][:5]
    with Reader(shop.lake, config) as reader:
        found = answer(reader, Asked(Query(), IDS[0], "similar_item", top=5))
        assert [hit.product_id for hit in found] == [IDS[number] for number in order]
        np.testing.assert_allclose([hit.score for hit in found], want[order], atol=3e-3)
        alike = similarity(config, reader.store, reader.comparing_encoder(), IDS[0], IDS[1])
        np.testing.assert_allclose((alike.image, alike.text), (a[0] @ a[1], b[0] @ b[1]), atol=3e-3)
        np.testing.assert_allclose(
            alike.profiles["similar_item"], 0.7 * a[0] @ a[1] + 0.3 * b[0] @ b[1], atol=3e-3
        )
        with pytest.raises(InputError, match=r"import:other has only vectors that were imported.*--product"):
            answer(reader, Asked(Query(["red mug"]), None, "selection"))


def test_a_day_encodes_nothing_and_counts_what_has_no_vector(shop: Any) -> None:
    shop.take(shop.parquet(product_id=IDS[:20], image=listed(some()[:20])))
    assert shop.embed().detail | {"pictures": 0, "titles": 0} == {
        "pictures": 0,
        "titles": 0,
        "titles_cut": 0,
        "missing": 10,
        "not_imported": 10,
    }
    before = shop.rows()
    path = shop.day(
        2, [shop.product("p00", picture=29), shop.product("p01", title="renamed"), shop.product("p29")]
    )
    outcomes = {one.stage: one for one in run_day(shop.lake, shop.config, path, date(2025, 1, 2))}
    assert outcomes["embed"].refused == 0
    assert {k: v for k, v in outcomes["embed"].detail.items() if k[:6] in ("missin", "change", "not_im")} == {
        "missing": 2,
        "changed_since_import": 1,
        "not_imported": 1,
    }
    rows = shop.rows()
    assert (rows["p00"].image, rows["p00"].live) == (None, True)
    np.testing.assert_array_equal(rows["p01"].image, before["p01"].image)
    assert not rows["p02"].live and rows["p02"].image is not None
    with Reader(shop.lake, shop.config) as reader:
        assert [hit.product_id for hit in answer(reader, Asked(Query(), "p01", "selection"))] == []
    shop.day(3, [shop.product(name) for name in IDS])
    done = shop.embed()
    assert shop.rows()["p02"].live
    assert done.detail["missing"] == 11  # p00 has its first picture again, but no vector
    assert verify_lake(shop.lake, shop.config) == []


def test_a_picture_that_another_product_has_too_is_not_given_its_vector(shop: Any) -> None:
    shop.take(shop.parquet(product_id=IDS[:20], image=listed(some()[:20])))
    shop.day(2, [*(shop.product(name) for name in IDS), shop.product("p30", picture=0, title="thing 0")])
    shop.embed()
    assert read_embeddings(shop.lake, shop.config).lookup(["p30"])["p30"].image is None


def test_categories_are_followed(shop: Any) -> None:
    shop.take(shop.parquet(product_id=IDS, image=listed(some())))
    text = (shop.folder / "mmprod.toml").read_text()
    (shop.folder / "mmprod.toml").write_text(
        text.replace("commit_rows", 'categories = ["Toys"]\ncommit_rows')
    )
    shop.embed()
    assert {name for name, row in shop.rows().items() if row.live} == set(IDS[1::2])
    other = some(5)
    shop.take(shop.parquet(product_id=IDS, image=listed(other)), model="")
    rows = shop.rows()
    assert {name for name, row in rows.items() if row.live} == set(IDS[1::2])
    np.testing.assert_allclose(np.stack([rows[name].image for name in IDS]), normal(other), atol=2e-3)


def test_a_second_import_writes_only_what_differs_and_indexes_follow(shop: Any) -> None:
    m = some()
    shop.take(shop.parquet(product_id=IDS, image=listed(m)))
    table = read_embeddings(shop.lake, shop.config)
    again = shop.take(shop.parquet("again.parquet", product_id=IDS, image=listed(m)))
    assert (again.changed, again.reused) == (0, 30)
    assert read_embeddings(shop.lake, shop.config).pointer == table.pointer
    m[3] = some(9)[3]
    done = shop.take(shop.parquet("fixed.parquet", product_id=IDS[::-1], image=listed(m[::-1])))
    assert (done.changed, done.reused) == (1, 29)
    after = read_embeddings(shop.lake, shop.config).pointer
    assert after.image_revision > table.pointer.image_revision
    assert after.text_revision == table.pointer.text_revision
    np.testing.assert_allclose(shop.rows()["p03"].image, normal(m)[3], atol=2e-3)


def test_another_model_under_the_same_name_is_refused_unless_new(shop: Any) -> None:
    first = shop.parquet("a.parquet", product_id=IDS, image=listed(some(1)))
    other = shop.parquet("b.parquet", product_id=IDS, image=listed(some(2)))
    wide = shop.parquet("c.parquet", product_id=IDS, image=listed(some(3, width=24)))
    shop.take(first, model="one")
    fingerprint = read_embeddings(shop.lake, shop.config).pointer.encoder
    for file, options, told in (
        (other, {}, "median cosine"),
        (wide, {}, "width 16, these have 24"),
        (other, {"model": "two"}, "--model 'one', these have 'two'"),
    ):
        with pytest.raises(InputError, match=told):
            shop.take(file, **options)
    np.testing.assert_allclose(shop.rows()["p00"].image, normal(some(1))[0], atol=2e-3)
    shop.take(other, model="one")  # the user says that it is the same one
    assert read_embeddings(shop.lake, shop.config).pointer.encoder == fingerprint
    shop.take(wide, new=True)
    after = read_embeddings(shop.lake, shop.config).pointer
    assert after.encoder != fingerprint and after.width == 24
    shop.take(wide, new=True)  # the same command again begins nothing anew
    assert read_embeddings(shop.lake, shop.config).pointer == after
    notes = {row["encoder"]: row["note"] for row in lake_status(shop.lake, shop.config)}
    assert (notes[after.encoder[:12]], notes[fingerprint[:12]]) == ("of import:other", "")


def test_shards_can_be_embedded_separately_as_with_any_encoder(shop: Any) -> None:
    shop.take(shop.parquet(product_id=IDS[:9], image=listed(some()[:9])))
    with open_store(shop.lake, shop.config) as store:
        encode_shard(shop.lake, shop.config, store, 0)
    done = shop.embed()
    assert (done.detail["missing"], done.detail["taken"]) == (21, 21)


def test_a_damaged_record_is_told(shop: Any) -> None:
    shop.take(shop.parquet(product_id=IDS, image=listed(some())))
    path = shop.lake.imports / "other.json"
    path.write_text(path.read_text().replace('"width": 16', '"width": 17'))
    assert "is damaged" in verify_lake(shop.lake, shop.config)[0]
    with pytest.raises(StateError, match="is damaged"):
        read_embeddings(shop.lake, shop.config)


def test_an_import_that_is_killed_changes_nothing_and_can_be_done_again(shop: Any) -> None:
    m = some()
    file = shop.parquet(product_id=IDS, image=listed(m))
    killed(shop, "2")
    assert not shop.lake.imports.exists()
    assert shop.take(file).changed == 30
    before = shop.rows()
    m += some(7) * 0.01
    shop.parquet(product_id=IDS, image=listed(m))
    killed(shop, "3")
    np.testing.assert_array_equal(shop.rows()["p00"].image, before["p00"].image)
    assert shop.take(file).changed == 30
    rows = shop.rows()
    assert len(rows) == read_embeddings(shop.lake, shop.config).dataset.count_rows() == 30
    np.testing.assert_allclose(np.stack([rows[n].image for n in IDS]), normal(m), atol=2e-3)
