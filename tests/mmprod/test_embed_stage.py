"""What is encoded and what is reused, by content and for any product; failures can be tried again."""

import io
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.images import shrink
from mmprod.datasets.schemas import PRODUCT
from mmprod.encoders import decode_ahead
from mmprod.encoders.clip import Encoder
from mmprod.retrieval.fusion import half_width
from mmprod.stages.daily.embed import bring_up, embed_changes, open_embeddings, read_embeddings
from mmprod.stages.daily.index import build_indexes
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.encoder import load_encoder
from mmprod.stages.outcome import Outcome
from mmprod.stages.search.search import search_text
from mmprod.stages.store import open_store
from mmprod.storage import artifacts


def jpeg(colour: str) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(sink, "JPEG")
    return sink.getvalue()


def row(name: str, colour: str, title: str, **more: Any) -> dict[str, Any]:
    return {"product_id": name, "image": jpeg(colour), "title": title, "category": ["Toys"], **more}


@pytest.fixture
def encoder(world) -> Encoder:
    return load_encoder(world.lake, world.config)


def day(world, encoder: Encoder, number: int, rows: list[dict[str, Any]], **options: bool) -> Outcome:
    """Ingest and embed one day's rows; what the embedding did."""
    path = Path(world.folder) / f"rows{number}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, PRODUCT), path)
    config = world.config
    with open_store(world.lake, config, read_only=False) as store:
        ingest_table(world.lake, config, store, path, date(2025, 1, number))
        return embed_changes(config, store, open_embeddings(world.lake, config, encoder), encoder, **options)


def table(world, encoder: Encoder) -> dict[str, Any]:
    embeddings = open_embeddings(world.lake, world.config, encoder)
    return embeddings.lookup(embeddings.dataset.to_table(["product_id"])["product_id"].to_pylist())


FIRST = [row("a", "red", "red ball"), row("b", "blue", "blue ball")]


def test_another_product_with_a_known_picture_and_title_costs_nothing(world, encoder) -> None:
    assert day(world, encoder, 1, FIRST).detail == {"pictures": 2, "titles": 2, "titles_cut": 0}
    done = day(world, encoder, 2, [*FIRST, row("c", "red", "blue ball")])
    assert (done.changed, done.detail["pictures"], done.detail["titles"]) == (1, 0, 0)
    rows = table(world, encoder)
    np.testing.assert_array_equal(rows["c"].image, rows["a"].image)
    np.testing.assert_array_equal(rows["c"].text, rows["b"].text)


def test_a_new_title_does_not_touch_the_picture(world, encoder) -> None:
    day(world, encoder, 1, FIRST)
    done = day(world, encoder, 2, [row("a", "red", "crimson ball"), FIRST[1]])
    assert (done.changed, done.detail["pictures"], done.detail["titles"]) == (1, 0, 1)


def test_other_fields_alone_encode_nothing_and_write_nothing(world, encoder) -> None:
    day(world, encoder, 1, FIRST)
    done = day(world, encoder, 2, [row("a", "red", "red ball", sales=7, brand="Lumo"), FIRST[1]])
    assert (done.rows, done.changed, done.reused) == (0, 0, 0)  # not even looked at


def test_a_relisted_product_is_not_encoded_again(world, encoder) -> None:
    day(world, encoder, 1, FIRST)
    day(world, encoder, 2, FIRST[:1])
    assert not table(world, encoder)["b"].live
    done = day(world, encoder, 3, FIRST)
    assert (done.changed, done.detail["pictures"], done.detail["titles"]) == (1, 0, 0)
    assert table(world, encoder)["b"].live


def test_a_failed_picture_keeps_its_reason_and_is_retried_when_asked(world, encoder) -> None:
    broken = row("b", "blue", "blue ball") | {"image": jpeg("blue")[:200]}
    assert day(world, encoder, 1, [FIRST[0], broken]).refused == 1
    reason = table(world, encoder)["b"].image_reason
    assert reason == "truncated"
    assert day(world, encoder, 2, [FIRST[0], broken]).rows == 0
    again = day(world, encoder, 3, [FIRST[0], broken], retry_failed=True)
    assert (again.rows, again.refused) == (1, 1)
    mended = day(world, encoder, 4, FIRST)
    assert mended.detail["pictures"] == 1
    assert table(world, encoder)["b"].image_reason is None


def test_the_half_width_form_is_brute_force_too(world, encoder) -> None:
    day(world, encoder, 1, [*FIRST, row("c", "green", "green ball"), row("d", "white", "white cube")])
    (world.folder / "mmprod.toml").write_text(
        'lake = "lake"\n[index]\nmax_similarity = 1.0\n'
        '[profiles.small]\nimage = 0.7\ntext = 0.3\nform = "half_width"\n'
        "[profiles.same_item]\nimage = 0.5\ntext = 0.5\n[profiles.similar_item]\nimage = 0.7\ntext = 0.3\n"
    )
    config = world.config
    rows = table(world, encoder)
    ids = sorted(rows)
    vectors = half_width(
        np.stack([rows[i].image for i in ids]), np.stack([rows[i].text for i in ids]), (0.7, 0.3)
    )
    want = np.sort(vectors @ encoder.titles(["green ball"])[0])[::-1]
    with open_store(world.lake, config) as store:
        build_indexes(world.lake, config, store, open_embeddings(world.lake, config, encoder), ["small"])
        found = search_text(world.lake, store, encoder, "green ball", "small", 4)
    np.testing.assert_allclose([f.score for f in found], want, atol=1e-3)
    assert found[0].image_score is None


def test_a_picture_that_there_was_no_memory_for_is_tried_again_on_the_next_run(
    world, encoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = decode_ahead.shrink

    def starved(data: bytes, *given: Any) -> shrink.Shrunk:
        if data == jpeg("blue"):
            raise MemoryError
        return plain(data, *given)

    with monkeypatch.context() as short:
        short.setattr(decode_ahead, "shrink", starved)
        done = day(world, encoder, 1, FIRST)
    assert (done.refused, done.detail["out_of_memory"], done.detail["pictures"]) == (0, 1, 1)
    assert "tried again" in caplog.text
    assert table(world, encoder)["b"].image is None
    with open_store(world.lake, world.config) as store:
        again = bring_up(world.lake, world.config, store)
        assert (again.detail["pictures"], again.refused) == (1, 0)
        settled = bring_up(world.lake, world.config, store)
        assert (settled.rows, settled.changed) == (0, 0)
    assert table(world, encoder)["b"].image is not None


def test_a_lake_of_other_normal_forms_is_encoded_anew_not_taken_as_equal(world, encoder) -> None:
    """As one is that was made before pictures were converted to sRGB: its manifest tells of no forms."""
    day(world, encoder, 1, FIRST)
    root = world.lake.encoder("tiny")
    assert world.lake.encoder_fingerprint("lake:tiny") == encoder.fingerprint
    with artifacts.opened(root) as current, artifacts.publishing(root, "encoder", {}, {}) as draft:
        for name in current.manifest.files:
            shutil.copyfile(current.path / name, draft.path / name)
        draft.counts |= {"fingerprint": "0" * 64}
    artifacts.switch(root, draft.generation)
    old = EmbeddingTable(world.lake.embeddings("lake:tiny", "0" * 64), "0" * 64, encoder.width, 1)
    with open_store(world.lake, world.config) as store:
        old.upsert(old.schema.empty_table(), store.head())
        assert world.lake.encoder_fingerprint("lake:tiny") is None
        assert read_embeddings(world.lake, world.config).pointer.encoder == encoder.fingerprint


def test_ignored_colour_profiles_are_told(world, encoder) -> None:
    sink = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(sink, "JPEG", icc_profile=b"garbage" * 20)
    done = day(world, encoder, 1, [row("a", "red", "a") | {"image": sink.getvalue()}, FIRST[1]])
    assert done.detail["profiles_ignored"] == 1


def indexed(world) -> tuple[dict[str, str | None], dict[str, Any], dict[str, int]]:
    """Build the indexes of a mixed and a picture profile: generations, items, numbers of index files."""
    names = ("same_item", "selection")
    with open_store(world.lake, world.config) as store:
        build_indexes(world.lake, world.config, store, read_embeddings(world.lake, world.config), names)
    roots = {name: world.lake.index(name) / str(artifacts.current(world.lake.index(name))) for name in names}
    items = {
        name: {row.pop("product_id"): row for row in pq.read_table(root / "items.parquet").to_pylist()}
        for name, root in roots.items()
    }
    files = {name: (root / "index.faiss").stat().st_ino for name, root in roots.items()}
    return {name: root.name for name, root in roots.items()}, items, files


def test_only_the_index_whose_vectors_changed_is_built(world, encoder) -> None:
    day(world, encoder, 1, FIRST)
    generations, items, files = indexed(world)
    volatile = [{**each, "sales": 9} for each in FIRST]
    day(world, encoder, 2, volatile)
    assert indexed(world) == (generations, items, files)
    titled = [volatile[0], {**volatile[1], "title": "navy ball"}]
    day(world, encoder, 3, titled)
    after, _, _ = indexed(world)
    assert after == {"same_item": "g000002", "selection": "g000001"}


def test_items_follow_categories_without_a_new_index(world, encoder) -> None:
    day(world, encoder, 1, FIRST)
    _, before, files = indexed(world)
    day(world, encoder, 2, [FIRST[0], {**FIRST[1], "category": ["Toys", "Balls"]}])
    generations, items, same_files = indexed(world)
    assert generations == {"same_item": "g000002", "selection": "g000002"}
    assert same_files == files
    for name in items:
        assert items[name]["b"] == {**before[name]["b"], "category": "Toys > Balls"}
        assert items[name]["a"] == before[name]["a"]
        assert artifacts.verify(world.lake.index(name) / "g000002") == []
    day(world, encoder, 3, [FIRST[0], {**FIRST[1], "category": ["Toys", "Balls"], "title": None}])
    _, items, same_files = indexed(world)
    assert same_files["selection"] == files["selection"]
    assert same_files["same_item"] != files["same_item"]
    assert [items["selection"][key]["has_text"] for key in "ab"] == [True, False]
