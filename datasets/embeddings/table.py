"""The embedding table of one encoder: a Lance dataset and a pointer to its last complete commit.

    lake/embeddings/<encoder>/vectors.lance     versions of the table; files are never changed
    lake/embeddings/<encoder>/CURRENT.json      version in use, position in the store, sha256 of each file

Readers open the version that the pointer names. A writer first discards later versions of dead writers.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.embeddings.rows import Known, Row, literals, quoted, rows_of, vector_of
from mmprod.datasets.lazy import lazy
from mmprod.datasets.schemas import check, embedding_schema
from mmprod.datasets.vectors import from_column
from mmprod.storage import checked_json, fencing
from mmprod.storage.errors import StateError
from mmprod.storage.faults import fault
from mmprod.storage.files import make_folder, replace_file, sha256_file, sync_tree
from mmprod.storage.room import require

lance = lazy("lance")  # half a second to import, and reading the pointer does not need it
POINTER = "CURRENT.json"
_HINT = "latest_version_hint.json"  # the only file Lance rewrites; never needed for reading a version


@dataclass(frozen=True)
class Pointer:
    """The published state of a table.

    `position`: how far the table has read the store's changes, per shard. `revision` grows with every change
    of content; `version` is Lance's and grows with `tidy` too. `categories`: the table is restricted to
    products in or below these; empty: no restriction. `restarts` counts the changes of position other than by
    reading on: restarts from 0 because `categories` changed, and other numberings of the store's changes.
    `field_position`: how far the table has read the changes of lasting fields, which matter for `categories`
    only; empty before it has read any. `image_revision` and `text_revision`: the revision in which a vector
    of that modality of a live product last changed. `numbering`: which one of the store's changes the
    positions are of (`mmprod.datasets.store.layout`).
    """

    encoder: str
    width: int
    revision: int
    version: int
    position: tuple[int, ...]
    files: dict[str, str]
    categories: tuple[str, ...] = ()
    restarts: int = 0
    field_position: tuple[int, ...] = ()
    image_revision: int = 0
    text_revision: int = 0
    numbering: int = 0

    def revision_of(self, weights: tuple[float, float]) -> int:
        """The revision in which the vectors that these weights of image and text count last changed."""
        both = zip(weights, (self.image_revision, self.text_revision), strict=True)
        return max(revision for weight, revision in both if weight)


class EmbeddingTable:
    """The vectors of one encoder by product id; see `embedding_schema` for the columns."""

    def __init__(self, root: Path, encoder: str, width: int, shards: int) -> None:
        """Open or create the table at `root`; StateError when it belongs to another encoder."""
        self.root, self.path = root, root / "vectors.lance"
        self.schema = embedding_schema(width)
        if not (root / POINTER).exists():
            make_folder(root)
            mode = "overwrite" if self.path.exists() else "create"  # left by a writer that died
            dataset = lance.write_dataset(self.schema.empty_table(), self.path, mode=mode)
            for name in ("product_id", "image_hash", "text_hash"):
                dataset.create_scalar_index(name, "BTREE")
            dataset = lance.dataset(self.path)
            self._publish(Pointer(encoder, width, 0, dataset.version, (0,) * shards, {}))
        self.pointer = read_pointer(root)
        _same_encoder(root, self.pointer, encoder, width)

    @property
    def dataset(self) -> Any:
        """The published version as a Lance dataset."""
        return lance.dataset(self.path, version=self.pointer.version)

    def lookup(self, ids: Sequence[str]) -> dict[str, Row]:
        """Published rows by id; ids without a row are left out."""
        found = self._where("product_id", quoted(ids))
        return {row.product_id: row for batch in found for row in rows_of(self.completed(batch))}

    def vectors_of(self, ids: Sequence[str]) -> pa.Table:
        """Columns product_id, image and text (float16, null if missing) of the live products among `ids`, in
        the order of `ids`."""
        names = ["product_id", "image", "text"]
        batches = self._where("product_id", quoted(ids))
        found = [batch.filter(batch["live"]).select(names) for batch in batches]
        table = pa.Table.from_batches(found, pa.schema([self.schema.field(name) for name in names]))
        places = pc.index_in(pa.array(list(dict.fromkeys(ids)), pa.string()), table["product_id"])
        return table.take(places.drop_null())

    def vectors(self, modality: str, hashes: Collection[bytes]) -> dict[bytes, Known]:
        """Existing vectors by the hash of the picture or title, of any product.

        `modality` is "image" or "text"; hashes without a vector are left out.
        """
        found: dict[bytes, Known] = {}
        for batch in map(self.completed, self._where(f"{modality}_hash", literals(hashes))):
            matrix, present = from_column(batch[modality])
            keys, makers = batch[f"{modality}_hash"].to_pylist(), batch[f"{modality}_backend"].to_pylist()
            rows = np.flatnonzero(present).tolist()
            found |= {keys[row]: Known(matrix[row], makers[row]) for row in rows}
        return found

    def known(self, modality: str, hashes: Collection[bytes]) -> set[bytes]:
        """Which of these hashes of pictures or titles have a vector, or a reason why they have none."""
        column = f"{modality}_hash"
        batches = self._where(column, literals(hashes), [column])
        return {key for batch in batches for key in batch[column].to_pylist()}

    def failed(self, reason: str | None = None) -> list[str]:
        """Ids of live products that have a picture but no vector of it, for any reason or only `reason`."""
        wanted = "live AND image IS NULL AND image_hash IS NOT NULL"
        if reason:
            wanted += f" AND image_reason = '{reason}'"
        table = self.dataset.scanner(filter=wanted, columns=["product_id"]).to_table()
        ids: list[str] = table["product_id"].to_pylist()
        return ids

    def without_vectors(self) -> Counter[str]:
        """The number of live products without any vector, by the reason why they have no picture vector."""
        wanted = "live AND image IS NULL AND text IS NULL"
        batches = self.dataset.scanner(filter=wanted, columns=["image_reason"]).to_batches()
        return Counter(reason for batch in batches for reason in batch["image_reason"].to_pylist())

    def _where(
        self, column: str, values: Sequence[str], columns: list[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        if values:
            wanted = f"{column} IN ({', '.join(values)})"
            yield from self.dataset.scanner(filter=wanted, columns=columns).to_batches()

    def upsert(self, rows: pa.Table, position: Sequence[int], field_position: Sequence[int] = ()) -> None:
        """Insert or replace rows by product_id in one commit and move the pointer.

        `field_position`: the new one; empty leaves it as it is.
        """
        check(rows, self.schema, "embedding")
        require(f"a commit of {rows.num_rows:,} embeddings", rows.nbytes, self.root)
        moved = replace(self.pointer, position=tuple(position))
        if field_position:
            moved = replace(moved, field_position=tuple(field_position))
        with fencing.publishing():
            self.pointer = self._publish(self._upserted(rows, moved))

    def upsert_all(self, commits: Iterable[tuple[pa.Table, Collection[str]]]) -> None:
        """As `upsert`, in several commits of which none counts before `commits` ends; the position stays.

        With each come the modalities ("image", "text") of which a live product gets another vector: of the
        same picture there may be another one. If `commits` raises, nothing has changed.
        """
        pointer = self.pointer
        for rows, changed in commits:
            check(rows, self.schema, "embedding")
            require(f"a commit of {rows.num_rows:,} embeddings", rows.nbytes, self.root)
            pointer = self._upserted(rows, pointer, changed)
        with fencing.publishing():
            self.pointer = self._publish(pointer)

    def _upserted(self, rows: pa.Table, pointer: Pointer, changed: Collection[str] | None = None) -> Pointer:
        """Commit rows; returns the pointer to the new version."""
        if not rows.num_rows:
            return pointer
        latest = lance.dataset(self.path)
        if latest.version != pointer.version:  # a writer died between its commit and moving the pointer
            latest = lance.dataset(self.path, version=pointer.version)
            latest.restore()
        changed = self._changed(rows) if changed is None else changed
        if lacking := [field for field in self.schema if field.name not in latest.schema.names]:
            latest.add_columns(pa.schema(lacking))  # nulls; the table is of an earlier version
        merge = latest.merge_insert("product_id").when_matched_update_all().when_not_matched_insert_all()
        merge.execute(rows)
        latest.optimize.optimize_indices()
        version, revision = lance.dataset(self.path).version, pointer.revision + 1
        fault("embed.committed")
        return replace(
            pointer,
            revision=revision,
            version=version,
            image_revision=revision if "image" in changed else pointer.image_revision,
            text_revision=revision if "text" in changed else pointer.text_revision,
        )

    def _changed(self, rows: pa.Table) -> list[str]:
        """The modalities of which a live product gets another vector by `rows`."""
        ids, columns = rows["product_id"].to_pylist(), ["product_id", "live", "image_hash", "text_hash"]
        found: dict[str, dict[str, Any]] = {}
        for batch in self._where("product_id", quoted(ids), [*columns, "image_reason"]):
            found |= {row["product_id"]: row for row in batch.to_pylist()}
        given = rows.select([*columns, "image_reason"]).to_pylist()
        return [
            modality
            for modality in ("image", "text")
            if any(
                vector_of(row, modality) != vector_of(found.get(row["product_id"]), modality) for row in given
            )
        ]

    def restrict(self, categories: Sequence[str]) -> None:
        """Restart at the store's first change, with other `categories`; rows stay until they are revisited.

        The position is reset in the same commit, so the table never appears up to date before it is.
        """
        start = (0,) * len(self.pointer.position)
        self._move(replace(self.pointer, position=start, field_position=(), categories=tuple(categories)))

    def renumber(self, numbering: int, position: Sequence[int], field_position: Sequence[int]) -> None:
        """Set the positions in another numbering of the store's changes; parts of the old one are void."""
        moved = replace(self.pointer, position=tuple(position), field_position=tuple(field_position))
        self._move(replace(moved, numbering=numbering))

    def _move(self, pointer: Pointer) -> None:
        with fencing.publishing():
            self.pointer = self._publish(replace(pointer, restarts=pointer.restarts + 1))

    def batches(self, rows: int = 8192) -> Iterator[pa.RecordBatch]:
        """Stream the rows of live products, from the published version."""
        yield from map(self.completed, self._live(rows, None))

    def completed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows with all columns of the schema: those that an earlier version did not write are null."""
        lacking = [field for field in self.schema if field.name not in batch.schema.names]
        for field in lacking:
            batch = batch.append_column(field, pa.nulls(batch.num_rows, field.type))
        return batch

    def backends(self) -> dict[str, dict[str, int]]:
        """How many vectors of live products each backend made, by modality; "" if it was not recorded."""
        return {modality: dict(sorted(self._made(modality).items())) for modality in ("image", "text")}

    def _made(self, modality: str) -> Counter[str]:
        column = f"{modality}_backend"
        columns = [column] if column in self.dataset.schema.names else []
        wanted = f"live AND {modality} IS NOT NULL"
        if not columns:
            return Counter({"": found} if (found := int(self.dataset.count_rows(filter=wanted))) else {})
        batches = self.dataset.scanner(filter=wanted, columns=columns).to_batches()
        return Counter(maker or "" for batch in batches for maker in batch[column].to_pylist())

    def modalities(self) -> pa.Table:
        """Columns product_id, has_image and has_text of the live products, in the order of `batches`."""
        has = {f"has_{modality}": f"{modality} IS NOT NULL" for modality in ("image", "text")}
        schema = pa.schema(
            [self.schema.field("product_id"), *(pa.field(name, pa.bool_(), nullable=False) for name in has)]
        )
        found = self._live(65_536, {"product_id": "product_id", **has})
        return pa.Table.from_batches((batch.cast(schema) for batch in found), schema)

    def _live(self, rows: int, columns: dict[str, str] | None) -> Iterator[pa.RecordBatch]:
        scanner = self.dataset.scanner(filter="live", batch_size=rows, scan_in_order=True, columns=columns)
        yield from scanner.to_batches()

    def count(self) -> int:
        """Number of live products in the table."""
        return int(self.dataset.count_rows(filter="live"))

    def tidy(self) -> None:
        """Merge small files and delete versions that are not in use; the caller holds the lake's lock."""
        dataset = lance.dataset(self.path, version=self.pointer.version)
        dataset.restore()
        dataset.optimize.compact_files()
        dataset.optimize.optimize_indices()
        version = lance.dataset(self.path).version
        self.pointer = self._publish(replace(self.pointer, version=version))
        lance.dataset(self.path).cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
        self.pointer = self._publish(self.pointer)

    def verify(self) -> list[str]:
        """Damage of the published version's files, in words; empty when it is sound."""
        return verify(self.root)

    def _publish(self, pointer: Pointer) -> Pointer:
        sync_tree(self.path)
        present = {name: path for path in self.path.rglob("*") if (name := _name(self.path, path))}
        files = {n: pointer.files.get(n) or sha256_file(path) for n, path in present.items()}
        pointer = replace(pointer, files=files)
        replace_file(self.root / POINTER, checked_json.dump(asdict(pointer)))
        return pointer


def read_pointer(root: Path) -> Pointer:
    """The pointer of the embedding table at `root`; StateError when it is missing or damaged."""
    content = checked_json.load(root / POINTER, Pointer)
    # Earlier versions had one sequence and one revision for all.
    revisions = dict.fromkeys(("image_revision", "text_revision"), content["revision"])
    content = {"field_position": content["position"], "categories": (), **revisions, **content}
    lists = {name: tuple(content[name]) for name in ("position", "categories", "field_position")}
    return Pointer(**{**content, **lists})


def verify(root: Path) -> list[str]:
    """Compare every file of the embedding table at `root` with its recorded sha256; problems in words."""
    try:
        pointer = read_pointer(root)
    except StateError as error:
        return [str(error)]
    problems = []
    for name, digest in pointer.files.items():
        path = root / "vectors.lance" / name
        if not path.is_file():
            problems.append(f"{path} is missing")
        elif (found := sha256_file(path)) != digest:
            problems.append(f"{path} has sha256 {found}, recorded is {digest}")
    return problems


def _name(root: Path, path: Path) -> str | None:
    return str(path.relative_to(root)) if path.is_file() and path.name != _HINT else None


def _same_encoder(root: Path, pointer: Pointer, encoder: str, width: int) -> None:
    if (pointer.encoder, pointer.width) != (encoder, width):
        raise StateError(
            f"{root} holds vectors of encoder {pointer.encoder} ({pointer.width} wide), "
            f"not of {encoder} ({width} wide)"
        )
