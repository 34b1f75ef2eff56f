"""Changed products of the store → changed rows of the embedding table."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

import pyarrow as pa

from mmprod.datasets.embeddings import parts as parts
from mmprod.datasets.embeddings.table import EmbeddingTable, Row
from mmprod.datasets.identity import EMPTY
from mmprod.datasets.store.store import Changed, Position, Store
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.stream import OUT_OF_MEMORY, Encoded, Job, embed
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.daily.embed_categories import fitting
from mmprod.stages.daily.embedded import settle
from mmprod.stages.outcome import Advance, Outcome, Watch, silent, timed
from mmprod.storage.errors import InputError
from mmprod.storage.faults import fault

log = logging.getLogger(__name__)


def open_embeddings(lake: Lake, config: Config, encoder: Encoder) -> EmbeddingTable:
    """The embedding table of this encoder, made if there is none."""
    root = lake.embeddings(config.encoder.model, encoder.fingerprint)
    return EmbeddingTable(root, encoder.fingerprint, encoder.width, config.store.shards)


def embed_changes(
    config: Config,
    store: Store,
    table: EmbeddingTable,
    encoder: Encoder,
    watch: Watch = silent,
    retry_failed: bool = False,
) -> Outcome:
    """Bring the embedding table up to the store: encode changed pictures and titles, keep the rest.

    A picture or title that this encoder has met before is not encoded again, whichever product had it.
    A picture that failed is tried again when it changes, or with `retry_failed`; one that there was no memory
    for, every time. Rows are committed every
    `commit_rows` products; the position in the store moves with the last commit, so after a crash the
    products already committed are met again, found settled and skipped.

    With `encoder.categories`, products outside of them are treated as removed ones are. Where the list has
    changed since the last time, every product is looked at, and only what isn't known is encoded.
    """
    with timed("embed") as outcome:
        head = store.head()
        settled = settle(config, store, table, outcome)
        failed = set(table.failed(None if retry_failed else OUT_OF_MEMORY))
        if settled and not failed:
            return outcome
        advance = watch("embed", sum(head) - sum(table.pointer.position) + len(failed))
        pending: list[pa.RecordBatch] = []
        due = _due(store, table, failed)
        for rows in _encoded(config, store, table, encoder, due, outcome, advance, failed):
            pending.append(rows)
            if sum(batch.num_rows for batch in pending) >= config.encoder.commit_rows:
                table.upsert(pa.Table.from_batches(pending), table.pointer.position)
                pending = []
        table.upsert(pa.Table.from_batches(pending, table.schema), head)
        outcome.reused = outcome.rows - outcome.changed
        outcome.made[str(table.root)] = str(table.pointer.revision)
    return outcome


def embed_shard(
    config: Config, store: Store, table: EmbeddingTable, encoder: Encoder, shard: int, watch: Watch = silent
) -> Outcome:
    """Encode the changed products of one shard into parts beside the table; `embed_changes` takes them in.

    A part holds `part_rows` changes; those that are there already are not made again. Shards can be encoded
    at the same time, on different machines: nothing that others read is changed, so the lake's lock isn't
    needed. Raises: InputError for a shard that the store doesn't have.
    """
    with timed(f"embed shard {shard}") as outcome:
        head = store.head()
        if not 0 <= shard < len(head):
            raise InputError(f"shard {shard}: the store has shards 0 to {len(head) - 1}")
        spans = list(parts.spans(table, shard, head[shard], config.encoder.part_rows))
        advance = watch(outcome.stage, sum(span.end - span.start for span in spans))
        for span in spans:
            if parts.path(table, span).exists():
                advance(span.end - span.start)
                continue
            after, until = (_moved(head, shard, number) for number in (span.start, span.end))
            due = store.changes_since(after, until)
            parts.write(table, span, _encoded(config, store, table, encoder, due, outcome, advance))
        outcome.reused = outcome.rows - outcome.changed
    return outcome


def _moved(position: Position, shard: int, number: int) -> Position:
    """The position with another number for one shard."""
    return (*position[:shard], number, *position[shard + 1 :])


def _encoded(
    config: Config,
    store: Store,
    table: EmbeddingTable,
    encoder: Encoder,
    due: Iterable[Changed],
    outcome: Outcome,
    advance: Advance,
    failed: Collection[str] = (),
) -> Iterator[pa.RecordBatch]:
    """Rows for the table, of those of the products that need new ones; counted in `outcome`."""
    counts, categories = Counter[str](outcome.detail), set(table.pointer.categories)
    for changed in _chunks(due, config.encoder.batch):
        outcome.rows += len(changed)
        inside = fitting(changed, store, categories)
        if categories:
            counts["outside"] += sum(change.live for change in changed) - len(inside)
        if jobs := _jobs(changed, inside, store, table, failed):
            encoded = embed(jobs, encoder, config.images.max_pixels)
            fault("embed.encoded")
            _count(outcome, counts, encoded)
            yield encoded.rows
        advance(len(changed))
    outcome.detail |= counts


def _due(store: Store, table: EmbeddingTable, failed: Collection[str]) -> Iterator[Changed]:
    """The products changed since the table's position, and behind them those whose picture failed."""
    left = set(failed)
    for change in store.changes_since(table.pointer.position):
        left.discard(change.product_id)
        yield change
    for product_id in sorted(left):
        if state := store.state(product_id):
            yield Changed(product_id, 0, state)


def _count(outcome: Outcome, counts: Counter[str], encoded: Encoded) -> None:
    reasons = encoded.rows.filter(encoded.rows["live"])["image_reason"].to_pylist()
    outcome.changed += encoded.rows.num_rows
    outcome.refused += sum(reason not in (None, "none", OUT_OF_MEMORY) for reason in reasons)
    counts.update(pictures=encoded.pictures, titles=encoded.titles, titles_cut=encoded.cut)
    if encoded.profiles_ignored:
        counts["profiles_ignored"] += encoded.profiles_ignored
    if short := reasons.count(OUT_OF_MEMORY):
        counts[OUT_OF_MEMORY] += short
        log.warning("no memory for the pictures of %d products; they are tried again on the next run", short)


def _chunks(changes: Iterable[Changed], size: int) -> Iterator[list[Changed]]:
    changes = iter(changes)
    while chunk := list(islice(changes, size)):
        yield chunk


def _jobs(
    changed: Sequence[Changed],
    inside: Collection[str],
    store: Store,
    table: EmbeddingTable,
    failed: Collection[str],
) -> list[Job]:
    """What is to be done so that of these products just those `inside` are live in the table.

    Nothing for a row that is as it should be, nor to remove an unknown one.
    """
    rows = table.lookup([change.product_id for change in changed])
    due = [
        c
        for c in changed
        if c.product_id in failed or not _settled(c, rows.get(c.product_id), c.product_id in inside)
    ]
    images = table.vectors("image", {c.image_hash for c in due} - {EMPTY})
    texts = table.vectors("text", {c.text_hash for c in due} - {EMPTY})
    records = store.get_many([change.product_id for change in due])
    jobs = []
    for change, record in zip(due, records, strict=True):
        row = rows.get(change.product_id)
        if row and change.product_id not in inside:
            jobs.append(_removal(row))
        elif record:
            known = images.get(change.image_hash)
            tried = row is not None and row.image_hash == change.image_hash and row.product_id not in failed
            picture = None if known is not None or tried else partial(store.picture, change.image_hash)
            reason = row.image_reason if row and tried else record.image_reason
            jobs.append(
                Job(
                    change.product_id,
                    live=True,
                    image_hash=_hash(change.image_hash),
                    text_hash=_hash(change.text_hash),
                    picture=picture,
                    title=record.title,
                    image_reason=reason,
                    kept_image=known,
                    kept_text=texts.get(change.text_hash),
                )
            )
    return jobs


def _settled(change: Changed, row: Row | None, live: bool) -> bool:
    if row is None:
        return not live
    same = (row.image_hash, row.text_hash) == (_hash(change.image_hash), _hash(change.text_hash))
    return row.live == live and (same or not live)


def _removal(row: Row) -> Job:
    """A removed product keeps its vectors, should it come back."""
    return Job(
        row.product_id,
        live=False,
        image_hash=row.image_hash,
        text_hash=row.text_hash,
        image_reason=row.image_reason,
        kept_image=row.image,
        kept_text=row.text,
    )


def _hash(content: bytes) -> bytes | None:
    return None if content == EMPTY else content
