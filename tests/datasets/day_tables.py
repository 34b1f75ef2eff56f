"""Tables and pictures in memory for the store's tests; also imported by the processes they start."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from mmprod.datasets.ingest.delivery import Identities
from mmprod.datasets.schemas import PRODUCT, rows_to_batch


@dataclass(frozen=True)
class Refused:
    source: str
    product_id: str | None
    reason: str


@dataclass(frozen=True)
class Batch:
    accepted: Any
    sources: list[str]
    refused: list[Refused]
    unread: tuple[tuple[int, str], ...] = ()
    plain_ids: int = 0
    merged: int = 0


@dataclass
class MemoryTable:
    """Rows as dicts of schema PRODUCT; a row with the key "refused" is refused for that reason."""

    rows: list[dict[str, Any]]
    stop_after: int | None = None  # batches, then reading fails
    name: str = "memory"

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self.rows).encode()).hexdigest()

    def batches(self, batch_rows):
        for number, part in enumerate(self._parts(batch_rows)):
            if number == self.stop_after:
                raise ConnectionError("the table broke off")
            good = [(i, row) for i, row in part if "refused" not in row]
            bad = [
                Refused(f"{self.name}:{i}", row["product_id"], row["refused"])
                for i, row in part
                if "refused" in row
            ]
            yield Batch(
                rows_to_batch((r for _, r in good), PRODUCT), [f"{self.name}:{i}" for i, _ in good], bad
            )

    def identities(self, batch_rows):
        for part in self._parts(batch_rows):
            table = rows_to_batch((row for _, row in part if "refused" not in row), PRODUCT)
            times = table.column("updated_at").cast(pa.int64())
            yield Identities(table.column("product_id").to_pylist(), times.to_pylist())

    def check_repeated(self, product_ids):
        """Rows of one id are versions of a product here."""

    def _parts(self, batch_rows):
        numbered = list(enumerate(self.rows))
        for start in range(0, len(numbered), batch_rows):
            yield numbered[start : start + batch_rows]


@dataclass
class MemoryPictures:
    """Pictures by path and by address; what isn't there is missing. Remembers what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def read(self, path):
        self.asked.append(path)
        return self.files.get(path, "missing")

    def fetch(self, urls):
        self.asked += urls
        return [self.files.get(url, "http_404") for url in urls]


def picture(name: str, size: int = 60) -> bytes:
    """Bytes that begin as a JPEG does, different for every name."""
    return (
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
        + (hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size]
    )


def catalogue(count: int, edition: str = "", size: int = 60) -> list[dict[str, Any]]:
    """`count` rows that differ from those of another `edition` in every part."""
    return [
        {
            "product_id": f"p{i:05d}",
            "title": f"Lamp {i} {edition}".strip(),
            "image": picture(f"{i}{edition}", size),
            "category": ["Home", "Lamps"],
            "sales": i + len(edition),
        }
        for i in range(count)
    ]
