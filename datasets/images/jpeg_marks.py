"""The markers that divide a JPEG into segments, read without decoding: for safety checks and completeness."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

MAX_SCANS = 100
"""A progressive JPEG has about ten scans; each further one costs a pass over the whole picture."""
MAX_PIECES = 20_000
"""Most segments, chunks or blocks of a picture file: each costs Pillow microseconds."""
_MAX_PADDING = 100_000  # bytes between segments, which Pillow reads one by one
_SOS, _EOI = 0xDA, 0xD9
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE = {0x01, *range(0xD0, 0xDA)}  # markers without a body
_MARK = re.compile(rb"\xff[^\x00\xff]")
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_COEFFICIENTS = 64  # of a block of 8 x 8


class Segment(NamedTuple):
    """A marker, the range of its body, and the number of stray bytes before it."""

    mark: int
    start: int
    end: int
    skipped: int


def segments(data: bytes) -> Iterator[Segment]:
    """The segments of a JPEG up to its end marker, or up to the last one."""
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
    many = data.count(b"\xff\xda") > MAX_SCANS  # scan data never contain these two bytes in a row
    pieces = scans = padding = 0
    for segment in segments(data):
        pieces, padding, scans = pieces + 1, padding + segment.skipped, scans + (segment.mark == _SOS)
        if pieces > MAX_PIECES or padding > _MAX_PADDING or scans > MAX_SCANS:
            return True
        if scans and not many:
            break
    return False


def has_end(data: bytes) -> bool:
    """Whether a JPEG contains its end marker."""
    return any(segment.mark == _EOI for segment in segments(data))


def with_ends(data: bytes) -> list[bytes]:
    """Two completions of a JPEG without an end marker; none if more than the end is certainly missing.

    The two differ in the filler bits between the data and the added end marker. If no pixel is missing, the
    decoder never reads the filler, so both decode to the same picture.
    """
    if not data.startswith(b"\xff\xd8") or not _is_all_but_ended(data):
        return []
    sound = data.rstrip(b"\xff")  # half an end marker
    return [sound + filling * _COEFFICIENTS + b"\xff\xd9" for filling in (b"\x00", b"\xfe")]


def _is_all_but_ended(data: bytes) -> bool:
    """Whether the data end inside the last scan."""
    lacking: dict[int, np.ndarray] = {}  # component → bits of each coefficient not yet covered by a scan
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
    """Record the coverage of a scan: of its components the coefficients `first` to `last`, down to a bit."""
    count = body[0] if body else 0
    if len(body) < 4 + 2 * count:
        return
    first, last, bits = body[1 + 2 * count : 4 + 2 * count]
    for part in body[1 : 1 + 2 * count : 2]:
        if part in lacking:
            lacking[part][first : last + 1] = bits & 15
