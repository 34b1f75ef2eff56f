"""The true sizes of the pictures inside an AVIF, which may differ from the size that the container declares.

The decoder allocates memory for the size in the AV1 data. Only the boxes that lead to these data are read
here, and the sequence headers in the data.
"""

from collections.abc import Iterator

_CONTAINERS = {b"meta": 4, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0}  # → bytes to skip
_SEQUENCE = 1  # type of the AV1 unit that says how large frames are
_MOST_UNITS = 1000


class Oversized(ValueError):  # noqa: N818 (a property of the file)
    """An AVIF whose boxes refer to more data than the file has."""


def coded_pixels(data: bytes) -> list[int]:
    """Pixels of the largest frame of each AV1 stream in an AVIF file. Raises: Oversized."""
    return [max(found) for stream in _streams(data) if (found := list(_frames(stream)))]


def is_whole(data: bytes) -> bool:
    """Whether the file contains its last box completely."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        if size == 0:  # the box extends to the end of the file
            return True
        at += max(8, int.from_bytes(data[at + 8 : at + 16]) if size == 1 else size)
    return at == len(data)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the boxes in a part of the file, including those inside containers."""
    while start + 8 <= end:
        size, kind, head = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16]), 16
        stop = end if size == 0 else min(start + size, end)
        if stop < start + head:
            return
        yield kind, start + head, stop
        if kind in _CONTAINERS:
            yield from _boxes(data, start + head + _CONTAINERS[kind], stop)
        start = stop


def _streams(data: bytes) -> Iterator[bytes]:
    """The data that decoders get: of each item, and of each track from its first chunk on."""
    found = list(_boxes(data, 0, len(data)))
    inner = next((data[start:end] for kind, start, end in found if kind == b"idat"), b"")
    room = 4 * len(data)  # no valid file refers to the same bytes again and again
    for kind, start, end in found:
        if kind == b"iloc":
            parts = _items(data[start:end], data, inner)
        elif kind in (b"stco", b"co64"):
            parts = _chunks(data[start:end], data, 4 if kind == b"stco" else 8)
        else:
            continue
        for part in parts:
            room -= len(part)
            if room < 0:
                raise Oversized("items that together are longer than the file")
            yield part


def _chunks(box: bytes, data: bytes, width: int) -> Iterator[bytes]:
    """The data from a track's first chunk on: only the first frame becomes the picture."""
    if len(box) >= 8 + width:
        yield data[int.from_bytes(box[8 : 8 + width]) :]


class _Numbers:
    """Reads consecutive big-endian numbers of a box; 0 beyond its end."""

    def __init__(self, box: bytes) -> None:
        self.box, self.at = box, 0

    def next(self, width: int) -> int:
        self.at += width
        return int.from_bytes(self.box[self.at - width : self.at])


def _items(box: bytes, data: bytes, inner: bytes) -> Iterator[bytes]:
    """The data of each item in an iloc box (ISO/IEC 14496-12, 8.11.3)."""
    numbers = _Numbers(box)
    version = numbers.next(4) >> 24
    widths = numbers.next(2)
    offset, length, base, index = (widths >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 2 if version < 2 else 4
    for _ in range(numbers.next(wide)):
        if numbers.at >= len(box):
            return
        numbers.next(wide)
        source = inner if version and numbers.next(2) & 15 == 1 else data
        numbers.next(2)
        start, parts, room = numbers.next(base), [], 2 * len(data)
        for _ in range(numbers.next(2)):
            if numbers.at >= len(box):
                break
            numbers.next(index if version else 0)
            at, size = start + numbers.next(offset), numbers.next(length)
            parts.append(source[at : at + size] if size else source[at:])
            room -= len(parts[-1])
            if room < 0:
                raise Oversized("an item that is longer than the file")
        yield b"".join(parts)


def _frames(stream: bytes) -> Iterator[int]:
    """Pixels of the largest frame, for each sequence header of an AV1 stream (AV1 specification, 5.3)."""
    at = 0
    for _ in range(_MOST_UNITS):
        if at >= len(stream) or stream[at] & 0x80:
            return
        head, at = stream[at], at + (2 if stream[at] & 4 else 1)
        size = len(stream) - at
        if head & 2:
            size, at = _leb128(stream, at)
        if head >> 3 & 15 == _SEQUENCE:
            yield _sequence(stream[at : at + min(size, 1000)])
        at += size


def _leb128(stream: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 56, 7):
        byte = stream[at] if at < len(stream) else 0
        value, at = value | (byte & 127) << shift, at + 1
        if not byte & 128:
            break
    return value, at


class _Bits:
    def __init__(self, data: bytes) -> None:
        self.left, self.value = 8 * len(data), int.from_bytes(data)

    def next(self, count: int = 1) -> int:
        """The next bits as a number; zeros beyond the end."""
        self.left -= count
        return (self.value >> self.left if self.left >= 0 else 0) & ((1 << count) - 1)


def _sequence(body: bytes) -> int:
    """Pixels of the largest frame that a sequence header allows (AV1 specification, 5.5.1)."""
    bits = _Bits(body)
    bits.next(4)
    if bits.next():  # reduced_still_picture_header
        bits.next(5)
    else:
        _skip_operating_points(bits)
    across, down = bits.next(4) + 1, bits.next(4) + 1
    return (bits.next(across) + 1) * (bits.next(down) + 1)


def _skip_operating_points(bits: _Bits) -> None:
    model = delay = 0
    if bits.next():  # timing_info_present_flag
        bits.next(64)
        if bits.next():
            zeros = next((count for count in range(32) if bits.next()), 32)
            bits.next(zeros)
        model = bits.next()
        if model:
            delay = bits.next(5) + 1
            bits.next(42)
    initial = bits.next()
    for _ in range(bits.next(5) + 1):
        bits.next(12)
        if bits.next(5) > 7:
            bits.next()
        if model and bits.next():
            bits.next(2 * delay + 1)
        if initial and bits.next():
            bits.next(4)
