"""Embedding a stream: what is encoded, what is kept, and what a bad picture does."""

import io
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from mmprod.datasets.embeddings.plan import OUT_OF_MEMORY, Job
from mmprod.datasets.images.geometry import Geometry
from mmprod.datasets.schemas import check, embedding_schema
from mmprod.datasets.vectors import from_column
from mmprod.encoders.clip import Encoder
from mmprod.encoders.decode_ahead import AHEAD
from mmprod.encoders.stream import embed, embed_all


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


def test_what_a_batch_before_had_is_not_encoded_again(encoder: Encoder) -> None:
    bad = job("c", png("green")[:60], "green")
    batches = [
        [job("a", png("red"), "red"), bad],
        [job("b", png("blue"), "red")],
        [replace(job("d", png("red"), "blue")), replace(bad, product_id="e")],
        [job("f", png("white"), "white")],
        [job("g", png("red"), "red")],
    ]
    done = list(embed_all(iter(batches), encoder, window=2))
    assert [(part.pictures, part.titles) for part in done] == [(1, 2), (1, 0), (0, 1), (1, 1), (1, 1)]
    alone = [embed(batch, encoder) for batch in batches]
    assert [part.rows for part in done] == [part.rows for part in alone]


def test_batches_are_read_ahead_but_not_all_at_once(encoder: Encoder) -> None:
    read = []

    def batches() -> Iterator[list[Job]]:
        for number in range(20):
            read.append(number)
            yield [job(str(number), png("red"), f"title {number}")]

    stream = embed_all(batches(), encoder)
    next(stream)
    assert len(read) <= 2 + AHEAD
    assert len(list(stream)) == 19


def test_an_error_while_reading_ahead_is_raised_in_its_place(encoder: Encoder) -> None:
    def batches() -> Iterator[list[Job]]:
        yield [job("a", png("red"), "red")]
        raise OSError("the disk is gone")

    stream = embed_all(batches(), encoder)
    assert next(stream).pictures == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)


def test_threads_end_with_a_stream_that_is_not_read_to_its_end(encoder: Encoder) -> None:
    before = set(threading.enumerate())
    stream = embed_all(([job(str(n), png("red"), "red")] for n in range(100)), encoder)
    next(stream)
    stream.close()
    assert set(threading.enumerate()) <= before


PEAK = """
import io, resource
from PIL import Image
from mmprod.encoders.clip import wrap
from mmprod.datasets.embeddings.plan import Job
from mmprod.encoders.stream import embed, embed_all
from mmprod.encoders.train import tiny_config, untrained

sink = io.BytesIO()
Image.new("L", (6400, 6200), 99).save(sink, "PNG", compress_level=1)
encoder = wrap(*untrained(tiny_config(), 0))
jobs = [Job(str(number), True, bytes([number]) * 16, None, sink.getvalue()) for number in range(10)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
done = embed(jobs, encoder)
print(done.pictures, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_large_pictures_are_held_one_at_a_time() -> None:
    """Ten of 40 megapixels are 1.6 GB, all decoded."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    pictures, more = map(int, done.stdout.split())
    assert pictures == 10
    assert more < 400, f"{more} MB"


def test_a_picture_is_asked_for_when_its_turn_comes(encoder: Encoder) -> None:
    asked = []

    def read(colour: str) -> bytes | None:
        asked.append(colour)
        return png(colour) if colour != "green" else None

    colours = ("red", "blue", "red", "green")
    jobs = [replace(job(colour, png(colour), colour), picture=partial(read, colour)) for colour in colours]
    done = embed(jobs, encoder)
    assert sorted(asked) == ["blue", "green", "red"]
    assert from_column(done.rows["image"])[1].tolist() == [True, True, True, False]


class Short:
    """An encoder with memory for `rows` pictures together, and for none of colour `poison`."""

    def __init__(self, encoder: Encoder, rows: int, poison: str = "black") -> None:
        self.encoder, self.rows = encoder, rows
        self.poison = encoder.geometry.pixels(Image.open(io.BytesIO(png(poison))))
        self.width, self.fingerprint, self.geometry = encoder.width, encoder.fingerprint, encoder.geometry
        self.backend = encoder.backend
        self.tried: list[int] = []

    def of_pixels(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        self.tried.append(len(pixels))
        if len(pixels) > self.rows or any((some == self.poison).all() for some in pixels):
            raise MemoryError
        return self.encoder.of_pixels(pixels)

    def tokens(self, titles: Sequence[str]) -> np.ndarray:
        return self.encoder.tokens(titles)

    def of_tokens(self, tokens: np.ndarray) -> np.ndarray:
        return self.encoder.of_tokens(tokens)

    def cut(self, tokens: np.ndarray) -> int:
        return self.encoder.cut(tokens)


FIVE = [job(colour, png(colour), colour) for colour in ("red", "green", "blue", "white", "yellow")]


def test_where_memory_runs_out_halves_give_the_same_rows(encoder: Encoder) -> None:
    short = Short(encoder, rows=2)
    done = embed(FIVE, short)  # type: ignore[arg-type]
    assert done.rows.equals(embed(FIVE, encoder).rows)
    assert (done.pictures, done.titles) == (5, 5)
    assert short.tried == [5, 2, 3, 1, 2]


def test_one_picture_that_there_is_no_memory_for_is_left_out_and_the_rest_goes_on(encoder: Encoder) -> None:
    done = embed(FIVE, Short(encoder, rows=9, poison="blue"))  # type: ignore[arg-type]
    assert done.rows["image_reason"].to_pylist() == [None, None, OUT_OF_MEMORY, None, None]
    assert from_column(done.rows["text"])[1].all()
    assert done.rows["image_hash"].null_count == 0


def test_so_is_one_that_can_t_be_decoded_for_want_of_memory(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = Geometry.pixels

    def starved(self: Geometry, picture: Image.Image) -> np.ndarray:
        if picture.getpixel((0, 0)) == (0, 0, 255):
            raise MemoryError
        return pixels(self, picture)

    monkeypatch.setattr(Geometry, "pixels", starved)
    done = embed(FIVE, encoder)
    assert done.rows["image_reason"].to_pylist() == [None, None, OUT_OF_MEMORY, None, None]


def test_memory_for_none_is_an_error_not_five_lost_pictures(encoder: Encoder) -> None:
    with pytest.raises(MemoryError, match="too little for any of 5 pictures"):
        embed(FIVE, Short(encoder, rows=0))  # type: ignore[arg-type]


def test_pictures_of_a_batch_that_share_their_file_count_as_one(encoder: Encoder) -> None:
    jobs = [replace(FIVE[0], product_id=name) for name in "ab"]
    done = embed(jobs, Short(encoder, rows=9, poison="red"))  # type: ignore[arg-type]
    assert done.rows["image_reason"].to_pylist() == [OUT_OF_MEMORY] * 2


def test_ignored_profiles_are_counted(encoder: Encoder) -> None:
    sink = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(sink, "JPEG", icc_profile=b"garbage" * 20)
    done = embed([FIVE[0], job("b", sink.getvalue(), "b")], encoder)
    assert (done.pictures, done.profiles_ignored) == (2, 1)


def test_pixels_and_pictures_give_the_same_bits(encoder: Encoder) -> None:
    pictures = [Image.open(io.BytesIO(png(colour))).convert("RGB") for colour in ("red", "blue")]
    made = encoder.of_pixels([encoder.geometry.pixels(picture) for picture in pictures])
    np.testing.assert_array_equal(made, encoder.pictures(pictures))
    assert encoder.of_pixels([]).shape == (0, encoder.width)
