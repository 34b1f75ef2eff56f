"""The length of the longest value in the dictionary of a Parquet column chunk.

A chunk may store each distinct value once, in its first page, and refer to it from every row, so that a few
kilobytes in the file expand to gigabytes. The footer does not give the length of values; this page does.
Format: https://parquet.apache.org/docs/file-format/data-pages/
"""

import struct
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

_HEADER_BYTES = 256
_BEGIN = b"\x15\x04"  # of the header of a dictionary page: field 1, an i32, is DICTIONARY_PAGE (2)
_MOST = 64_000_000  # bytes of the largest dictionary that is unpacked
_CODECS = {"SNAPPY": "snappy", "GZIP": "gzip", "BROTLI": "brotli", "ZSTD": "zstd", "LZ4": "lz4_raw"}


def longest_value(file: BinaryIO, chunk: pq.ColumnChunkMetaData) -> int:
    """Bytes of the longest value in the chunk's dictionary; 0 if it has none.

    If the dictionary can't be read (another codec, very large, damaged), an upper bound: the unpacked size of
    the dictionary or of the chunk.
    """
    if chunk.physical_type != "BYTE_ARRAY":
        return 0
    # Some writers omit the dictionary's offset; the dictionary is then at the data's offset.
    offset = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    file.seek(offset)
    head = file.read(_HEADER_BYTES)
    if not head.startswith(_BEGIN):
        return 0
    try:
        page, length = _fields(head)
        unpacked, packed = page[2], page[3]
        if unpacked > _MOST:
            return int(unpacked)
        if min(unpacked, packed) < 0:
            raise ValueError("a size below zero")
        file.seek(offset + length)
        return _longest(_unpack(file.read(packed), unpacked, chunk.compression))
    except (TypeError, ValueError, LookupError, struct.error, pa.ArrowException, OSError):
        return int(chunk.total_uncompressed_size)


def _fields(data: bytes, place: int = 0) -> tuple[dict[int, Any], int]:
    """Parse a struct of numbers, flags and structs in Thrift's compact protocol: its fields and its end."""
    fields, number = dict[int, Any](), 0
    while kind := data[place]:
        place, number = place + 1, number + (kind >> 4)
        match kind & 15:
            case 1 | 2:
                fields[number] = kind & 15 == 1
            case 4 | 5 | 6:
                value, place = _varint(data, place)
                fields[number] = (value >> 1) ^ -(value & 1)
            case 12:
                fields[number], place = _fields(data, place)
            case other:
                raise ValueError(f"a field of type {other}")
    return fields, place + 1


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place, value, shift = place + 1, value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return value, place


def _unpack(data: bytes, size: int, codec: str) -> bytes:
    if codec == "UNCOMPRESSED" or not size:
        return data[:size]
    return pa.Codec(_CODECS[codec]).decompress(data, size, asbytes=True)  # type: ignore[no-any-return]


def _longest(values: bytes) -> int:
    """Length of the longest of consecutive values, each preceded by its length in four bytes."""
    longest, place, end, length_at = 0, 0, len(values), struct.Struct("<I").unpack_from
    while place < end:
        length = length_at(values, place)[0]
        if length > longest:
            longest = length
        place += 4 + length
    if place != end:
        raise ValueError("the last value is cut")
    return int(longest)
