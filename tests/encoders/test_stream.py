"""Embedding a stream: what is encoded, what is kept, and what a bad picture does."""

import io

import numpy as np
import pytest
from PIL import Image

from mmprod.datasets.schemas import check, embedding_schema
from mmprod.datasets.vectors import from_column
from mmprod.encoders.clip import Encoder
from mmprod.encoders.stream import Job, embed


def png(colour: str) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(sink, "PNG")
    return sink.getvalue()


def job(name: str, picture: bytes | None, title: str | None, **more: object) -> Job:
    known = {
        "image_hash": picture and (b"i" + picture)[-16:],
        "text_hash": title and title.encode().ljust(16),
    }
    return Job(product_id=name, live=True, picture=picture, title=title, **{**known, **more})  # type: ignore[arg-type]


def test_vectors_equal_the_encoder_s_to_float16(encoder: Encoder) -> None:
    done = embed([job("a", png("red"), "red"), job("b", png("blue"), "blue")], encoder)
    check(done.rows, embedding_schema(encoder.width), "embedding")
    image, has_image = from_column(done.rows["image"])
    assert has_image.all()
    want = encoder.pictures([Image.new("RGB", (40, 40), c) for c in ("red", "blue")])
    np.testing.assert_allclose(image, want, atol=1e-3)
    np.testing.assert_allclose(from_column(done.rows["text"])[0], encoder.titles(["red", "blue"]), atol=1e-3)


def test_equal_pictures_and_titles_are_encoded_once(encoder: Encoder) -> None:
    done = embed([job(name, png("red"), "red") for name in "abc"], encoder)
    assert (done.pictures, done.titles) == (1, 1)
    assert from_column(done.rows["image"])[1].all()


def test_what_is_kept_is_not_encoded(encoder: Encoder) -> None:
    kept = np.full(encoder.width, 0.5, np.float16)
    done = embed([job("a", None, "red", image_hash=b"1" * 16, kept_image=kept)], encoder)
    assert (done.pictures, done.titles) == (0, 1)
    np.testing.assert_array_equal(from_column(done.rows["image"])[0][0], kept)


def test_a_bad_picture_costs_its_product_only_the_picture(encoder: Encoder) -> None:
    bad = png("green")[:60]
    done = embed([job("a", png("red"), "red"), job("b", bad, "green"), job("c", None, "blue")], encoder)
    assert from_column(done.rows["image"])[1].tolist() == [True, False, False]
    assert from_column(done.rows["text"])[1].tolist() == [True, True, True]
    reasons = done.rows["image_reason"].to_pylist()
    assert reasons[0] is None
    assert reasons[1]
    assert reasons[2] == "none"


def test_too_many_pixels_is_a_reason(encoder: Encoder) -> None:
    done = embed([job("a", png("red"), "red")], encoder, max_pixels=100)
    assert done.rows["image_reason"].to_pylist() == ["too_many_pixels"]


def test_a_vector_that_is_not_finite_counts_as_none(encoder: Encoder) -> None:
    kept = np.full(encoder.width, np.nan, np.float16)
    done = embed([job("a", None, "red", image_hash=b"1" * 16, kept_image=kept)], encoder)
    assert done.rows["image"].null_count == 1
    assert done.rows["image_reason"].to_pylist() == ["vector_not_finite"]


@pytest.mark.parametrize("title", ["", None])
def test_no_title_no_text_vector(encoder: Encoder, title: str | None) -> None:
    done = embed([job("a", png("red"), title, text_hash=None)], encoder)
    assert done.rows["text"].null_count == 1
    assert done.titles == 0
