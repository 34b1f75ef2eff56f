"""The messages of an Arrow file or stream, by their headers: rows and decoded sizes, before any is read.

A record batch is decoded as a whole, and one of a few kilobytes may decode to gigabytes; Arrow's own reader
does not say so beforehand. A file is a stream between two marks, with a footer.
Format: https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

MAGIC = b"ARROW1"
_CONTINUATION = b"\xff\xff\xff\xff"
_DICTIONARY, _BATCH = 2, 3  # kinds of message
_MOST_HEADER = 64_000_000  # bytes


class Message(NamedTuple):
    """A record batch or a dictionary: its rows (0 for a dictionary) and the bytes that it decodes to."""

    rows: int
    decoded: int


class NotArrow(ValueError):  # noqa: N818 (a finding)
    """A file that is no complete Arrow file or stream; the text says why."""


def messages(path: Path) -> Iterator[Message]:
    """The record batches and dictionaries of an Arrow file or stream, in order.

    Raises: NotArrow when it is none, is cut off, or lacks the mark at its end.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if is_file(path):
            file.seek(-len(MAGIC), 2)
            if size < 8 + len(MAGIC) or file.read() != MAGIC:
                raise NotArrow("is cut off: the mark at its end is missing")
        file.seek(8 if is_file(path) else 0)
        try:
            while header := _header(file):
                start = file.tell()
                body = int(_number(header, _root(header), 3, "<q"))
                if body < 0 or start + body > size:
                    raise NotArrow("is cut off within a batch")
                yield from _message(file, header, range(start, start + body))
                file.seek(start + body)
        except (struct.error, IndexError, OverflowError) as error:
            raise NotArrow(f"has a damaged header ({error})") from error


def is_file(path: Path) -> bool:
    """Whether it has the form of a file, which has a footer; else it is a stream."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _header(file: BinaryIO) -> bytes:
    """The next message's header; empty at the mark of the end."""
    start = file.read(8)
    if len(start) < 8:
        raise NotArrow("is cut off: the mark at its end is missing" if file.tell() > 8 else "is too short")
    if start[:4] != _CONTINUATION:
        raise NotArrow("has no Arrow message where one should begin")
    length = struct.unpack("<i", start[4:])[0]
    if not 0 <= length <= _MOST_HEADER:
        raise NotArrow("has a header of an impossible length")
    header = file.read(length)
    if len(header) < length:
        raise NotArrow("is cut off within a header")
    return header


def _message(file: BinaryIO, header: bytes, body: range) -> Iterator[Message]:
    root = _root(header)
    kind, content = _number(header, root, 1, "<B"), _reference(header, root, 2)
    if kind == _BATCH and content:
        yield Message(int(_number(header, content, 0, "<q")), _decoded(file, header, content, body))
    elif kind == _DICTIONARY and content and (values := _reference(header, content, 1)):
        yield Message(0, _decoded(file, header, values, body))


def _decoded(file: BinaryIO, header: bytes, batch: int, body: range) -> int:
    """Bytes of a batch's buffers once they are decoded; a compressed one begins with its decoded length.

    `body`: where the buffers are in the file.
    """
    buffers, packed, total = _reference(header, batch, 2), _reference(header, batch, 3), 0
    count = struct.unpack_from("<I", header, buffers)[0] if buffers else 0
    if not packed:
        return sum(struct.unpack_from("<q", header, buffers + 12 + 16 * i)[0] for i in range(count))
    for number in range(count):
        offset, length = struct.unpack_from("<qq", header, buffers + 4 + 16 * number)
        if length:
            file.seek(body[max(offset, 0)])  # beyond its end: IndexError
            unpacked = struct.unpack("<q", file.read(8))[0]
            total += length - 8 if unpacked == -1 else unpacked
    return total


def _root(data: bytes) -> int:
    return int(struct.unpack_from("<I", data, 0)[0])


def _field(data: bytes, table: int, number: int) -> int:
    """Where field `number` of a Flatbuffers table stands; 0 if it is not there."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if vtable < 0 or 4 + 2 * number >= struct.unpack_from("<H", data, vtable)[0]:
        return 0
    place = struct.unpack_from("<H", data, vtable + 4 + 2 * number)[0]
    return table + place if place else 0


def _number(data: bytes, table: int, number: int, form: str) -> Any:
    place = _field(data, table, number)
    return struct.unpack_from(form, data, place)[0] if place else 0


def _reference(data: bytes, table: int, number: int) -> int:
    """Where the table or vector stands to which a field refers; 0 if it is not there."""
    place = _field(data, table, number)
    return place + int(struct.unpack_from("<I", data, place)[0]) if place else 0
