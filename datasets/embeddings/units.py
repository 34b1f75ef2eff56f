"""Units: what has to be encoded for a span of changes, as files that need no store; and plans of them.

    FOLDER/plan.json                                the plan; its units count only once it is there
    FOLDER/<restarts>-<shard>-<start>-<end>-<sha256>.arrow     a unit
    FOLDER/<the same>.parquet                       its part: the rows that were encoded from it
    FOLDER/<the same>.begun                         a worker has begun with it

A unit is an Arrow file: rows of the embedding table as far as they are known, with the titles and pictures
that are missing. Each distinct picture is in it once. Its name contains its content's hash, so that two plans
never share a file by accident, and a part is always of the unit whose name it has.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmprod.datasets.embeddings.parts import Span
from mmprod.datasets.embeddings.plan import Job
from mmprod.datasets.schemas import embedding_schema, rows_to_batch
from mmprod.datasets.store.store import Store
from mmprod.storage import checked_json
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import sha256_file
from mmprod.storage.shared_folder import Folder

PLAN = "plan.json"
_BATCH_BYTES, _BATCH_ROWS = 32 << 20, 4096  # of a record batch; one is in memory at a time
_ROW_BYTES = 80  # offsets and flags of a row, about
_NAMED = 5  # names in a message
_UNIT, _ENCODER = b"unit", b"encoder"  # metadata of a part


@dataclass(frozen=True)
class Unit:
    """A unit's file: the span of changes it is made from, its rows, bytes and sha256."""

    restarts: int
    span: Span
    rows: int
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return "-".join(map(str, (self.restarts, *self.span, self.sha256[:8])))

    @property
    def file(self) -> str:
        return f"{self.name}.arrow"

    @property
    def part(self) -> str:
        return f"{self.name}.parquet"

    @property
    def begun(self) -> str:
        return f"{self.name}.begun"


@dataclass(frozen=True)
class Plan:
    """Units that bring an embedding table from position `start` to `head` (both in `numbering`).

    `restarts` is that of the table (`Pointer`). `max_pixels`: larger pictures are refused.
    """

    encoder: str
    model: str
    width: int
    max_pixels: int
    restarts: int
    numbering: int
    categories: tuple[str, ...]
    start: tuple[int, ...]
    head: tuple[int, ...]
    units: tuple[Unit, ...]


def write_plan(folder: Folder, plan: Plan) -> None:
    """Publish a plan, after its units."""
    with folder.draft() as draft:
        draft.write_text(checked_json.dump(asdict(plan)))
        folder.publish(draft, PLAN)


def read_plan(folder: Folder) -> Plan | None:
    """The plan in a folder; None if there is none. Raises: StateError if it is damaged."""
    try:
        with folder.local(PLAN) as path:
            content = checked_json.load(path, Plan)
    except FileNotFoundError:
        return None
    except StateError as error:
        raise StateError(f"{folder.address}: {error}") from error
    units = tuple(Unit(**{**unit, "span": Span(*unit["span"])}) for unit in content.pop("units"))
    lists = {name: tuple(content[name]) for name in ("categories", "start", "head")}
    return Plan(**{**content, **lists, "units": units})


def the_plan(folder: Folder) -> Plan:
    """The plan in a folder. Raises: InputError if there is none; StateError if it is damaged."""
    if (plan := read_plan(folder)) is None:
        raise InputError(f"{folder.address} has no plan; write one: `mmprod embed --plan {folder.address}`")
    return plan


_VECTORS = ("image", "text")
_FLOAT = np.dtype("<f2")
_KNOWN = [field for field in embedding_schema(1) if field.name not in _VECTORS]
UNIT = pa.schema(
    [
        *_KNOWN,
        *(
            pa.field(name, pa.binary()) for name in _VECTORS
        ),  # float16[width], little-endian, if known already
        pa.field("title", pa.string()),  # null if `text` is known
        pa.field("encode_image", pa.bool_(), nullable=False),
        pa.field("picture", pa.binary()),  # only in the first row that needs it
    ]
)
"""A row of the embedding table as far as it is known, and what the rest of it is encoded from."""


class UnitWriter:
    """Writes jobs to a unit's file; `rows`: how many, `bytes`: about how long the file is by now."""

    def __init__(self, path: Path) -> None:
        self.rows, self.bytes = 0, 0
        self._path, self._writer = path, pa.ipc.new_file(path, UNIT)
        self._pictures, self._pending, self._pending_bytes = set[bytes](), list[dict[str, Any]](), 0

    def add(self, job: Job) -> None:
        """Add a job; a picture is read now."""
        row = {field.name: getattr(job, field.name) for field in _KNOWN}
        row |= {"image": _bytes(job.kept_image), "text": _bytes(job.kept_text)}
        row["title"] = job.title if job.kept_text is None else None
        row["encode_image"] = job.picture is not None and job.kept_image is None
        row["picture"] = self._picture(job) if row["encode_image"] else None
        size = sum(len(value) for value in row.values() if isinstance(value, bytes | str)) + _ROW_BYTES
        self.rows, self.bytes, self._pending_bytes = (
            self.rows + 1,
            self.bytes + size,
            self._pending_bytes + size,
        )
        self._pending.append(row)
        if self._pending_bytes >= _BATCH_BYTES or len(self._pending) >= _BATCH_ROWS:
            self._flush()

    def finish(self, restarts: int, span: Span) -> Unit:
        """Complete the file; returns its unit."""
        self._flush()
        self._writer.close()
        return Unit(restarts, span, self.rows, self._path.stat().st_size, sha256_file(self._path))

    def _picture(self, job: Job) -> bytes | None:
        """The bytes of a picture that the unit has not got yet."""
        if job.image_hash is None or job.image_hash in self._pictures:
            return None
        self._pictures.add(job.image_hash)
        return job.picture() if callable(job.picture) else job.picture

    def _flush(self) -> None:
        self._writer.write_batch(rows_to_batch(self._pending, UNIT))
        self._pending, self._pending_bytes = [], 0


def _bytes(vector: np.ndarray | None) -> bytes | None:
    return None if vector is None else vector.astype(_FLOAT).tobytes()


def jobs_in(path: Path, batch: int) -> Iterator[list[Job]]:
    """The jobs of a unit's file, `batch` at a time; pictures are read from the file when they are decoded."""
    unit = pa.ipc.open_file(pa.memory_map(str(path)))
    batches = [unit.get_batch(number) for number in range(unit.num_record_batches)]
    pictures = _pictures(batches)
    jobs = (job for rows in batches for job in _jobs(rows, pictures))
    while some := list(islice(jobs, batch)):
        yield some


_Pictures = dict[bytes, pa.BinaryScalar]
"""By hash; the bytes stay in the file until they are asked for."""


def _pictures(batches: Sequence[pa.RecordBatch]) -> _Pictures:
    found: _Pictures = {}
    for batch in batches:
        keys, pictures = batch["image_hash"], batch["picture"]
        rows = np.flatnonzero(pictures.is_valid().to_numpy(zero_copy_only=False)).tolist()
        found |= {keys[row].as_py(): pictures[row] for row in rows}
    return found


def _picture(pictures: _Pictures, key: bytes) -> bytes | None:
    found: bytes | None = pictures[key].as_py() if key in pictures else None
    return found


def _jobs(batch: pa.RecordBatch, pictures: _Pictures) -> Iterator[Job]:
    for row in batch.drop_columns(["picture"]).to_pylist():
        kept: dict[str, Any] = {
            f"kept_{name}": None if (vector := row.pop(name)) is None else np.frombuffer(vector, _FLOAT)
            for name in _VECTORS
        }
        picture = partial(_picture, pictures, row["image_hash"]) if row.pop("encode_image") else None
        yield Job(**row, **kept, picture=picture)


def part_schema(plan: Plan, unit: Unit) -> pa.Schema:
    """The schema of a unit's part: that of the table, and from what it was made."""
    return embedding_schema(plan.width).with_metadata(_made_from(plan, unit))


def problem(file: Path, plan: Plan, unit: Unit, store: Store) -> str | None:
    """Why a file can't be the unit's part, in words; None if it can.

    All pages are read. Every row must be of a product of the store, and of its present picture and title if
    the product has not changed since the span.
    """
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as part:
            made, wanted = part.schema_arrow.metadata or {}, _made_from(plan, unit)
            if {key: made.get(key) for key in wanted} != wanted:
                return f"was made from {_told(made)}, not {_told(wanted)}"
            if not part.schema_arrow.equals(embedding_schema(plan.width)):
                return "has other columns than the table"
            names = ["product_id", "live", "image_hash", "text_hash"]
            rows = pa.Table.from_batches(
                (batch.select(names) for batch in part.iter_batches()),
                pa.schema([part.schema_arrow.field(name) for name in names]),
            )
    except (OSError, pa.ArrowException) as error:
        return f"can't be read: {error}"
    ids = rows["product_id"].to_pylist()
    if (rows.num_rows, len(set(ids))) != (unit.rows, unit.rows):
        return f"has {rows.num_rows} rows of {len(set(ids))} products, not {unit.rows}"
    return _foreign(rows, unit.span, store)


def _foreign(rows: pa.Table, span: Span, store: Store) -> str | None:
    found = store.known(rows["product_id"].to_pylist())
    for row in rows.to_pylist():
        change = found.get(row["product_id"])
        if change is None or change.shard != span.shard:
            return f"has product {row['product_id']!r}, which shard {span.shard} of the store has not"
        own = tuple(row[name] or bytes(16) for name in ("image_hash", "text_hash"))
        if row["live"] and change.state.sequence <= span.end and own != (change.image_hash, change.text_hash):
            return f"has another picture or title of product {row['product_id']!r} than the store"
    return None


def _made_from(plan: Plan, unit: Unit) -> dict[bytes, bytes]:
    return {_UNIT: unit.sha256.encode(), _ENCODER: plan.encoder.encode()}


def _told(made: dict[bytes, bytes]) -> str:
    return " by ".join(
        f"{key.decode()} {made[key].decode(errors='replace')[:12] if key in made else '?'}"
        for key in (_UNIT, _ENCODER)
    )


def check_unit(path: Path, unit: Unit) -> None:
    """Raise StateError unless a unit's file is as planned."""
    if (found := sha256_file(path)) != unit.sha256:
        raise StateError(f"unit {unit.file} has sha256 {found}, the plan says {unit.sha256}")


def some(names: Collection[str]) -> str:
    """The first of these names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(sorted(names)[:_NAMED]) + (f" and {more} more" if more > 0 else "")
