"""The marks that divide a JPEG: read without decoding, to know what decoding would meet."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

MAX_SCANS = 100
"""A progressive JPEG has about ten scans; each more costs a pass over the whole picture."""
MAX_PIECES = 20_000
"""Segments, chunks or blocks that a picture's file may be cut into: each costs Pillow microseconds."""
_MAX_PADDING = 100_000  # bytes between segments, which Pillow reads one by one
_SOS, _EOI = 0xDA, 0xD9
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE = {0x01, *range(0xD0, 0xDA)}  # marks without a body
_MARK = re.compile(rb"\xff[^\x00\xff]")
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_COEFFICIENTS = 64  # of a block of 8 x 8


class Segment(NamedTuple):
    """A mark, where its body lies, and how many bytes before it belong to nothing."""

    mark: int
    start: int
    end: int
    skipped: int


def segments(data: bytes) -> Iterator[Segment]:
    """The segments of a JPEG up to its end mark, or as far as there are any."""
    at, pattern = 0, _MARK
    while found := pattern.search(data, at):
        mark, start = data[found.end() - 1], found.end()
        end = start if mark in _BARE else start + int.from_bytes(data[start : start + 2])
        yield Segment(mark, start, end, found.start() - at if pattern is _MARK else 0)
        if mark == _EOI:
            return
        at, pattern = max(end, start), _AFTER_SCAN if mark == _SOS else _MARK


def is_bomb(data: bytes) -> bool:
    """Whether a JPEG has so many scans or segments that decoding it would take seconds or minutes."""
    many = data.count(b"\xff\xda") > MAX_SCANS  # in the data of scans no such bytes stand together
    pieces = scans = padding = 0
    for segment in segments(data):
        pieces, padding, scans = pieces + 1, padding + segment.skipped, scans + (segment.mark == _SOS)
        if pieces > MAX_PIECES or padding > _MAX_PADDING or scans > MAX_SCANS:
            return True
        if scans and not many:
            break
    return False


def has_end(data: bytes) -> bool:
    """Whether a JPEG goes on up to its end mark."""
    return any(segment.mark == _EOI for segment in segments(data))


def with_ends(data: bytes) -> list[bytes]:
    """A JPEG without an end mark, in two ways given what may be lacking; none where surely more is lacking.

    Between the last of its data and the end mark stand other bits each time. Where no pixel is lacking, no
    decoder looks at them, and both give the same picture.
    """
    if not data.startswith(b"\xff\xd8") or not _is_all_but_ended(data):
        return []
    sound = data.rstrip(b"\xff")  # half an end mark
    return [sound + filling * _COEFFICIENTS + b"\xff\xd9" for filling in (b"\x00", b"\xfe")]


def _is_all_but_ended(data: bytes) -> bool:
    """Whether the data end inside a scan behind which no other is to come."""
    lacking: dict[int, np.ndarray] = {}  # component → bits not yet told of each coefficient
    last = None
    for last in segments(data):
        body = data[last.start + 2 : last.end]
        if last.end > len(data):
            return False
        if last.mark in _FRAMES:
            lacking = {part: np.full(_COEFFICIENTS, 99) for part in body[6::3]}
        elif last.mark == _SOS:
            _note_scan(body, lacking)
    ends_in_scan = last is not None and last.mark == _SOS
    return ends_in_scan and bool(lacking) and not any(bits.any() for bits in lacking.values())


def _note_scan(body: bytes, lacking: dict[int, np.ndarray]) -> None:
    """Take off what a scan tells: of its components the coefficients `first` to `last`, down to a bit."""
    count = body[0] if body else 0
    if len(body) < 4 + 2 * count:
        return
    first, last, bits = body[1 + 2 * count : 4 + 2 * count]
    for part in body[1 : 1 + 2 * count : 2]:
        if part in lacking:
            lacking[part][first : last + 1] = bits & 15
