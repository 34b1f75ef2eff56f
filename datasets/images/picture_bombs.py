"""Detection of decompression bombs: picture files made to be expensive, detected before decoding.

A running decoder can't be stopped, so the file's structure is checked first for anything that would make it
take much time or memory.
"""

import zlib
from collections.abc import Callable, Iterator
from functools import partial

from mmprod.datasets.images import avif_boxes, jpeg_marks
from mmprod.datasets.images.jpeg_marks import MAX_PIECES

BOMB, TEXT_BOMB, TOO_MANY = "decode_bomb", "text_bomb", "too_many_pixels"
_MAX_TEXT = (
    1_000_000  # bytes that a text or profile in a PNG may unpack to; Pillow's limit is a little higher
)
_MAX_RATIO = 1000  # zlib's best compression ratio
_MAX_STRIPS = 100_000  # strips or tiles: one a row and colour in the longest picture
_SMALL_TILE = 4_000_000  # pixels; tiles may be larger than a small picture
_AVIF_STREAMS = 3  # full-size pictures in an AVIF: colours, transparency, one to spare
_PNG = b"\x89PNG\r\n\x1a\n"
_GIF_TABLE, _GIF_BLOCK, _GIF_PICTURE = 0x80, 0x21, 0x2C
_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_PLACES = (273, 324)  # of strips and of tiles
_SHORT = 3  # type of a TIFF value of two bytes


def found(data: bytes, max_pixels: int) -> str | None:
    """Why decoding this file would cost far more than the picture it declares; None if it would not.

    Reasons: ``decode_bomb`` (thousands of scans, blocks or chunks; tiles far larger than the picture),
    ``text_bomb`` (packed texts), ``too_many_pixels`` (declared outside, or found inside).
    """
    if data.startswith(b"\xff\xd8"):
        return BOMB if jpeg_marks.is_bomb(data) else None
    if data.startswith(_PNG):
        return _in_png(data)
    if data.startswith(b"GIF"):
        return BOMB if _blocks_of_gif(data) > MAX_PIECES else None
    if data.startswith(b"RIFF"):
        return TOO_MANY if _webp_pixels(data) > max_pixels else None
    if data.startswith((b"II*\0", b"MM\0*")):
        return BOMB if _has_huge_tiles(data) else None
    return _in_avif(data, max_pixels) if data[4:8] == b"ftyp" else None


def is_whole(data: bytes) -> bool:
    """Whether a picture's file is complete, judged by its structure without decoding; True for any TIFF."""
    if data.startswith(b"\xff\xd8"):
        return jpeg_marks.has_end(data)
    if data.startswith(_PNG):
        return any(kind == b"IEND" for kind, _, _ in _chunks(data))
    if data.startswith(b"GIF"):
        return data.rstrip(b"\0").endswith(b";")
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") + 8 <= len(data)
    if data.startswith(b"BM"):
        return int.from_bytes(data[2:6], "little") <= len(data)
    return data[4:8] != b"ftyp" or avif_boxes.is_whole(data)


def declared_pixels(data: bytes) -> int:
    """Pixels for which Pillow allocates memory when it opens the file; 0 if it allocates later."""
    return _webp_pixels(data) if data.startswith(b"RIFF") else 0


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the complete chunks of a PNG."""
    at = len(_PNG)
    while (end := at + 12 + int.from_bytes(data[at : at + 4])) <= len(data):
        yield data[at + 4 : at + 8], at + 8, end - 4
        at = end


def _in_png(data: bytes) -> str | None:
    for number, (kind, start, end) in enumerate(_chunks(data)):
        if number == MAX_PIECES:
            return BOMB
        long = (end - start) * _MAX_RATIO > _MAX_TEXT
        if long and kind in (b"zTXt", b"iTXt", b"iCCP") and _unpacks_too_far(kind, data[start:end]):
            return TEXT_BOMB
    return None


def _unpacks_too_far(kind: bytes, body: bytes) -> bool:
    if kind == b"iTXt":
        _, _, rest = body.partition(b"\0")
        packed = rest[2:].split(b"\0", 2)[-1] if rest[:1] == b"\1" else b""
    else:
        packed = body.partition(b"\0")[2][1:]
    try:
        return len(zlib.decompressobj().decompress(packed, _MAX_TEXT + 1)) > _MAX_TEXT
    except zlib.error:
        return False


def _blocks_of_gif(data: bytes) -> int:
    """Number of blocks and sub-blocks before the first picture of a GIF; stops counting at MAX_PIECES."""
    at = 13 + (3 << (data[10] & 7) + 1 if len(data) > 10 and data[10] & _GIF_TABLE else 0)
    blocks = 0
    while at < len(data) and data[at] == _GIF_BLOCK and blocks <= MAX_PIECES:
        at, blocks = at + 2, blocks + 1
        while at < len(data) and data[at] and blocks <= MAX_PIECES:
            at, blocks = at + 1 + data[at], blocks + 1
        at += 1
    return blocks


def _webp_pixels(data: bytes) -> int:
    """Pixels of the canvas, which Pillow allocates when it opens a WebP."""
    little: Callable[[bytes], int] = partial(int.from_bytes, byteorder="little")
    if data[12:16] == b"VP8X":
        return (little(data[24:27]) + 1) * (little(data[27:30]) + 1)
    if data[12:16] == b"VP8L":
        sides = little(data[21:25])
        return ((sides & 0x3FFF) + 1) * ((sides >> 14 & 0x3FFF) + 1)
    return (little(data[26:28]) & 0x3FFF) * (little(data[28:30]) & 0x3FFF)


def _has_huge_tiles(data: bytes) -> bool:
    """Whether a TIFF has tiles far larger than the picture, or far too many strips or tiles."""
    number: Callable[[bytes], int] = partial(
        int.from_bytes, byteorder="little" if data[:1] == b"I" else "big"
    )
    at, values = number(data[4:8]), dict[int, int]()
    for place in range(at + 2, at + 2 + 12 * number(data[at : at + 2]), 12):
        tag, kind, count = (number(data[place + a : place + b]) for a, b in ((0, 2), (2, 4), (4, 8)))
        values[tag] = (
            count if tag in _PLACES else number(data[place + 8 : place + (10 if kind == _SHORT else 12)])
        )
    if any(values.get(tag, 0) > _MAX_STRIPS for tag in _PLACES):
        return True
    picture = values.get(_WIDTH, 0) * values.get(_HEIGHT, 0)
    return values.get(_TILE_WIDTH, 0) * values.get(_TILE_HEIGHT, 0) > max(_SMALL_TILE, 2 * picture)


def _in_avif(data: bytes, max_pixels: int) -> str | None:
    try:
        streams = avif_boxes.coded_pixels(data)
    except avif_boxes.Oversized:
        return BOMB
    too_many = max(streams, default=0) > max_pixels or sum(streams) > _AVIF_STREAMS * max_pixels
    return TOO_MANY if too_many else None
