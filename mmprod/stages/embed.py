"""Changed products of the store → changed rows of the embedding table."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import pyarrow as pa

from mmprod.config import Config
from mmprod.datasets.faults import fault
from mmprod.datasets.identity import EMPTY
from mmprod.datasets.record import Record
from mmprod.datasets.store import Changed, Store
from mmprod.embedding_table import EmbeddingTable, Row
from mmprod.encoders.clip import Encoder
from mmprod.encoders.stream import Job, embed
from mmprod.lake import Lake
from mmprod.stages.outcome import Outcome, Watch, silent, timed


def open_embeddings(lake: Lake, config: Config, encoder: Encoder) -> EmbeddingTable:
    """The embedding table of this encoder, made if there is none."""
    root = lake.embeddings(config.encoder.model, encoder.fingerprint)
    return EmbeddingTable(root, encoder.fingerprint, encoder.width, config.store.shards)


def embed_changes(
    config: Config, store: Store, table: EmbeddingTable, encoder: Encoder, watch: Watch = silent
) -> Outcome:
    """Bring the embedding table up to the store: encode changed pictures and titles, keep the rest.

    Rows are committed every `commit_rows` products. The position in the store moves with the last commit;
    after a crash the products already committed are met again, found unchanged and skipped.
    """
    with timed("embed") as outcome:
        head, counts = store.head(), {"pictures": 0, "titles": 0, "titles_cut": 0}
        if head == table.pointer.position:
            return outcome
        advance = watch("embed", sum(head) - sum(table.pointer.position))
        pending: list[pa.RecordBatch] = []
        for changed in _chunks(store.changes_since(table.pointer.position), config.encoder.batch):
            jobs = _jobs(changed, store, table.lookup([change.product_id for change in changed]))
            outcome.rows += len(changed)
            outcome.changed += len(jobs)
            if jobs:
                encoded = embed(jobs, encoder, config.images.max_pixels)
                fault("embed.encoded")
                pending.append(encoded.rows)
                outcome.refused += sum(
                    r not in (None, "none") for r in encoded.rows["image_reason"].to_pylist()
                )
                counts["pictures"] += encoded.pictures
                counts["titles"] += encoded.titles
                counts["titles_cut"] += encoded.cut
            if sum(batch.num_rows for batch in pending) >= config.encoder.commit_rows:
                table.upsert(pa.Table.from_batches(pending), table.pointer.position)
                pending = []
            advance(len(changed))
        table.upsert(pa.Table.from_batches(pending, table.schema), head)
        outcome.reused = outcome.rows - outcome.changed
        outcome.detail = {key: count for key, count in counts.items() if count}
    return outcome


def _chunks(changes: Iterable[Changed], size: int) -> Iterator[list[Changed]]:
    changes = iter(changes)
    while chunk := list(islice(changes, size)):
        yield chunk


def _jobs(changed: Sequence[Changed], store: Store, rows: dict[str, Row]) -> list[Job]:
    """What is to be done: nothing for a row that is as it should be, nor to remove an unknown one."""
    due = [change for change in changed if not _settled(change, rows.get(change.product_id))]
    records = store.get_many([change.product_id for change in due])
    return [
        _job(change, record, rows.get(change.product_id), store)
        for change, record in zip(due, records, strict=True)
        if record is not None
    ]


def _settled(change: Changed, row: Row | None) -> bool:
    if row is None:
        return not change.live
    same = (row.image_hash, row.text_hash) == (_hash(change.image_hash), _hash(change.text_hash))
    return row.live == change.live and (same or not change.live)


def _job(change: Changed, record: Record, row: Row | None, store: Store) -> Job:
    """Vectors and failures of the same picture and the same title are kept; a removed product keeps all."""
    image_hash, text_hash = _hash(change.image_hash), _hash(change.text_hash)
    if row and not change.live:
        image_hash, text_hash = row.image_hash, row.text_hash
    same_image = row is not None and row.image_hash == image_hash
    same_text = row is not None and row.text_hash == text_hash
    return Job(
        product_id=change.product_id,
        live=change.live,
        image_hash=image_hash,
        text_hash=text_hash,
        picture=None if same_image or image_hash is None else store.picture(image_hash),
        title=None if same_text else record.title,
        image_reason=row.image_reason if row and same_image else record.image_reason,
        kept_image=row.image if row and same_image else None,
        kept_text=row.text if row and same_text else None,
    )


def _hash(content: bytes) -> bytes | None:
    return None if content == EMPTY else content
