"""Values with a checksum. LMDB has none: it would return a flipped byte without an error."""

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from mmprod.storage.errors import StateError

_Value = TypeVar("_Value")


def seal(key: bytes, body: bytes) -> bytes:
    """`body` prefixed with the CRC-32 of key and body, so that a value under a wrong key is detected too."""
    return zlib.crc32(body, zlib.crc32(key)).to_bytes(4, "little") + body


def unseal(database: str, key: bytes, value: bytes) -> bytes:
    """The body of a sealed value.

    Raises: StateError naming the database, the key and both checksums when they differ.
    """
    body = value[4:]
    stored, found = int.from_bytes(value[:4], "little"), zlib.crc32(body, zlib.crc32(key))
    if stored != found:
        raise StateError(
            f"store is damaged: {database}[{key_text(key)}] carries checksum {stored:08x}, its bytes give "
            f"{found:08x}; run `mmprod store verify`, then restore the store or ingest its days anew"
        )
    return body


def none_missing(
    shard: Path, database: str, keys: Iterable[bytes], found: dict[bytes, _Value]
) -> dict[bytes, _Value]:
    """Return `found`. Raises: StateError naming the file and the first of `keys` that `found` lacks."""
    if (lost := next((key for key in keys if key not in found), None)) is not None:
        raise StateError(
            f"{shard}/data.mdb is damaged: {database}[{key_text(lost)}] is missing; run `mmprod store "
            "verify`, then restore the store from a copy or ingest its days anew"
        )
    return found


def key_text(key: bytes) -> str:
    """A key for messages: as text if it is printable, else in hex."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return key.hex()
    return text if text.isprintable() else key.hex()
