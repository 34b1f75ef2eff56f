"""Checks titles and pictures of requests and encodes them. A picture is a file, or a data URL of a file."""

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
from mmprod.serving.errors import Refused
from mmprod.serving.release import Limits

_URL = re.compile(rb"data:image/[\w.+-]+;base64,", re.IGNORECASE)


class Encoding(Protocol):
    """Checks titles and pictures and encodes them to float32 [n, width] of unit length.

    Either with the exported encoder in this process (`LocalEncoding`), or by calls to the encoder models of
    the same server (`BlsEncoding`).
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
        """Open the engine, or only some of its towers, and verify each file. Raises: StateError."""
        self._encoder = ExportedEncoder.open(engine, device, threads, towers, free)
        self._limits = limits
        self.fingerprint, self.width = self._encoder.fingerprint, self._encoder.width

    def warm_up(self, tower: Tower, count: int) -> None:
        """Encode a batch of `count` items: the first one takes longer, and shows whether the tower works."""
        if tower == "text":
            self._encoder.titles(["a"] * count)
        else:
            self._encoder.pictures([Image.new("RGB", (64, 64))] * count)

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Titles to float32 [n, width] of unit length. Raises: Refused, as `check_title`."""
        return self._encoder.titles([check_title(title, self._limits) for title in titles])

    def pictures(self, pictures: Sequence[bytes]) -> np.ndarray:
        """Picture files to float32 [n, width] of unit length. Raises: Refused, as `check_picture`."""
        # decoded one by one, as a decoded picture can take a thousand times as much memory as its file
        pixels = [self._encoder.geometry.pixels(check_picture(data, self._limits)) for data in pictures]
        return self._encoder.of_pixels(pixels)


def check_count(count: int, limits: Limits) -> None:
    """Raises: Refused for a request with no items or with more than the limit."""
    if not count:
        raise Refused("empty", "nothing was sent")
    if count > limits.titles:
        raise Refused("too_large", f"{count} items in a request, the limit is {limits.titles}")


def check_title(title: str, limits: Limits) -> str:
    """The normal form of a title. Raises: Refused if it is empty or over the limit."""
    if (size := len(title.encode("utf-8", "surrogatepass"))) > limits.text_bytes:
        raise Refused("too_large", f"a text of {size} bytes, the limit is {limits.text_bytes}")
    text = normalise_title(title)
    if not text:
        raise Refused("empty", "a text without a visible character")
    return text


def check_picture(data: bytes, limits: Limits) -> Image.Image:
    """A picture decoded to RGB, from the bytes of a file or of a data URL ``data:image/…;base64,…``.

    Raises: Refused, with the reason, if it can't be decoded or is over a limit.
    """
    file = _file(data, limits)
    if len(file) > limits.image_bytes:
        raise _too_large(len(file), limits)
    try:
        return decode(file, limits.image_pixels)
    except BadImage as bad:
        raise Refused("bad_image", f"a picture that can't be used: {bad.reason}") from bad


def _file(data: bytes, limits: Limits) -> bytes:
    """The bytes of a picture's file, decoded if `data` is a data URL. No file format begins with "data:"."""
    if data[:5].lower() != b"data:":
        return data
    if not (head := _URL.match(data)):
        raise Refused("bad_image", "a data URL that isn't data:image/…;base64,…")
    if (size := (len(data) - head.end()) * 3 // 4) > limits.image_bytes + 2:  # 2 for padding
        raise _too_large(size, limits)
    try:
        return binascii.a2b_base64(memoryview(data)[head.end() :], strict_mode=True)
    except binascii.Error as error:
        raise Refused("bad_image", f"a data URL with invalid base64: {error}") from error


def _too_large(size: int, limits: Limits) -> Refused:
    return Refused("too_large", f"a picture of {size} bytes, the limit is {limits.image_bytes}")
