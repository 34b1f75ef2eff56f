"""From what a request carries to vectors: titles as text, pictures as files, or as data URLs of files."""

import binascii
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from mmprod.datasets.images.images import BadImage, decode
from mmprod.datasets.text import normalise_title
from mmprod.encoders.export.encoder import ExportedEncoder
from mmprod.encoders.export.spec import Tower
from mmprod.encoders.shapes import free
from mmprod.serving.refused import Refused
from mmprod.serving.release import Limits

_URL = re.compile(rb"data:image/[\w.+-]+;base64,", re.IGNORECASE)


class Encoding(Protocol):
    """What turns checked titles and pictures into float32 [n, width] of unit length.

    The exported encoder in this process, or models of the same server.
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def width(self) -> int: ...
    def titles(self, titles: Sequence[str]) -> np.ndarray: ...
    def pictures(self, pictures: Sequence[bytes]) -> np.ndarray: ...


class LocalEncoding:
    """The exported encoder of a release, in this process."""

    def __init__(
        self,
        engine: Path,
        limits: Limits,
        device: str = "cpu",
        threads: int = 0,
        towers: Sequence[Tower] | None = None,
    ) -> None:
        """Open the engine, or only some towers of it, every file verified. Raises: StateError."""
        self._encoder = ExportedEncoder.open(engine, device, threads, towers, free)
        self._limits = limits
        self.fingerprint, self.width = self._encoder.fingerprint, self._encoder.width

    def warm_up(self, tower: Tower, count: int) -> None:
        """Send a batch of `count` through a tower: the first takes longer, and shows whether it works."""
        if tower == "text":
            self._encoder.titles(["a"] * count)
        else:
            self._encoder.pictures([Image.new("RGB", (64, 64))] * count)

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Titles as they come to float32 [n, width] of unit length. Raises: Refused, as `check_title`."""
        return self._encoder.titles([check_title(title, self._limits) for title in titles])

    def pictures(self, pictures: Sequence[bytes]) -> np.ndarray:
        """Files of pictures to float32 [n, width] of unit length. Raises: Refused, as `check_picture`."""
        make = self._encoder.pixels  # of one at a time: decoded, a picture can take a thousand times as much
        return self._encoder.of_pixels([make(check_picture(data, self._limits)) for data in pictures])


def check_count(count: int, limits: Limits) -> None:
    """Refused unless there is something, and not too much of it, in a request."""
    if not count:
        raise Refused("empty", "nothing was sent")
    if count > limits.titles:
        raise Refused("too_large", f"{count} at once, the limit is {limits.titles}")


def check_title(title: str, limits: Limits) -> str:
    """The normal form of a title. Raises: Refused for one that is empty or over the limit."""
    if (size := len(title.encode("utf-8", "surrogatepass"))) > limits.text_bytes:
        raise Refused("too_large", f"a text of {size} bytes, the limit is {limits.text_bytes}")
    text = normalise_title(title)
    if not text:
        raise Refused("empty", "a text without any letter or sign that could be seen")
    return text


def check_picture(data: bytes, limits: Limits) -> Image.Image:
    """A picture decoded to RGB, from a file's bytes or from ``data:image/…;base64,…`` as JSON can carry it.

    Raises: Refused, with the reason, for what is none or over a limit.
    """
    file = _file(data, limits)
    if len(file) > limits.image_bytes:
        raise _too_large(len(file), limits)
    try:
        return decode(file, limits.image_pixels)
    except BadImage as bad:
        raise Refused("bad_image", f"a picture that can't be used: {bad.reason}") from bad


def _file(data: bytes, limits: Limits) -> bytes:
    """The bytes of a picture's file. No such file begins as a data URL does."""
    if data[:5].lower() != b"data:":
        return data
    if not (head := _URL.match(data)):
        raise Refused("bad_image", "a data URL that isn't data:image/…;base64,…")
    if (size := (len(data) - head.end()) * 3 // 4) > limits.image_bytes + 2:  # 2 for padding
        raise _too_large(size, limits)
    try:
        return binascii.a2b_base64(memoryview(data)[head.end() :], strict_mode=True)
    except binascii.Error as error:
        raise Refused("bad_image", f"a data URL of broken base64: {error}") from error


def _too_large(size: int, limits: Limits) -> Refused:
    return Refused("too_large", f"a picture of {size} bytes, the limit is {limits.image_bytes}")
