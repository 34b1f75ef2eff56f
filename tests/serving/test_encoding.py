"""What a request may carry as a title or a picture."""

import base64
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmprod.serving.encoding import check_picture
from mmprod.serving.errors import Refused
from mmprod.serving.release import Limits

LIMITS = Limits(2, 10, 100_000, 100 * 100, 5)


def file(side: int = 64, form: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(out, form)
    return out.getvalue()


def url(data: bytes, kind: str = "image/jpeg") -> bytes:
    return f"data:{kind};base64,".encode() + base64.b64encode(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_data_url_is_the_file_in_it(form: str) -> None:
    data = file(form=form)
    for same in (url(data), url(data, f"image/{form.lower()}"), url(data).replace(b"data:", b"DATA:")):
        assert check_picture(same, LIMITS).tobytes() == check_picture(data, LIMITS).tobytes()


@pytest.mark.parametrize(
    "data",
    [
        b"data:",
        b"data:image/jpeg,%FF%D8",
        b"data:text/html;base64,PGh0bWw+",
        b"data:image/jpeg;base64,",
        b"data:image/jpeg;base64,abc",
        b"data:image/jpeg;base64,/9j/!!!!",
        b"data:image/jpeg;base64,/9j/ 4AAQ",
        url(file())[:-9],
        url(b"<!doctype html><p>not found</p>"),
        b"data:image/jpeg;base64," + url(file()),
    ],
)
def test_a_broken_data_url_is_refused(data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        check_picture(data, LIMITS)
    assert refused.value.code == "bad_image"


@given(st.binary(max_size=200))
def test_no_data_url_does_harm(tail: bytes) -> None:
    with pytest.raises(Refused, match="bad_image"):
        check_picture(b"data:image/png;base64," + tail, LIMITS)


def test_the_limit_is_of_the_file() -> None:
    at_the_limit = file() + bytes(100_000 - len(file()))  # what follows the end of a JPEG doesn't matter
    check_picture(url(at_the_limit), LIMITS)
    for size in (1, 2, 3, 100_000):
        with pytest.raises(Refused, match="too_large: a picture of"):
            check_picture(url(at_the_limit + bytes(size)), LIMITS)
