"""Changed products of the store → changed rows of the embedding table.

An encoder of the lake, which is slow to load, is loaded only if something has to be encoded. With
`candidate`, the name of an encoder of the lake that is to replace the configured one, a function works on
that encoder's embedding table.
"""

import logging
from collections import Counter, deque
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from time import perf_counter

import pyarrow as pa

from mmprod.datasets.embeddings import import_plan, numbering, parts, scope
from mmprod.datasets.embeddings.plan import OUT_OF_MEMORY, Job, outdated, plan
from mmprod.datasets.embeddings.table import POINTER, EmbeddingTable, read_pointer
from mmprod.datasets.identity import EMPTY
from mmprod.datasets.store.layout import Position, layout
from mmprod.datasets.store.store import Changed, Store
from mmprod.encoders.decode_ahead import AHEAD
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.stream import Encoded, embed_all
from mmprod.lake import IMPORTED, LAKE_ENCODER, Lake
from mmprod.sections import Config
from mmprod.stages import known_encoders
from mmprod.stages.backend import embedding_encoder
from mmprod.stages.encoder import open_encoder
from mmprod.stages.outcome import Advance, Outcome, Progress, no_progress, timed
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.faults import fault

log = logging.getLogger(__name__)


def read_embeddings(lake: Lake, config: Config) -> EmbeddingTable:
    """The embedding table of the configured encoder; an encoder of the lake is not loaded for this.

    Raises: StateError if nothing has been embedded with it yet.
    """
    if table := table_of_lake(lake, config):
        return table
    encoder = open_encoder(lake, config)
    root = lake.embeddings(config.encoder.model, encoder.fingerprint)
    if not (root / POINTER).exists():
        named = f"{config.encoder.model} {encoder.fingerprint[:12]}"
        raise StateError(f"nothing was embedded with {named} yet; run `mmprod embed`")
    return EmbeddingTable(root, encoder.fingerprint, encoder.width, _shards(lake, root))


def bring_up(
    lake: Lake,
    config: Config,
    store: Store,
    progress: Progress = no_progress,
    retry_failed: bool = False,
    candidate: str | None = None,
) -> Outcome:
    """As `embed_changes`, but an encoder of the lake is loaded only if something has to be encoded."""
    with timed("embed") as outcome:
        table = None if retry_failed else table_of_lake(lake, config, candidate)
        if table and take_parts(config, store, table, outcome) and not table.failed(OUT_OF_MEMORY):
            return _told(config, table, outcome)
    encoder = embedding_encoder(lake, config, store, candidate, progress=progress)
    table = open_embeddings(lake, config, encoder)
    encoded = embed_changes(config, store, table, encoder, progress, retry_failed)
    encoded.detail = outcome.detail | encoded.detail
    return encoded


def shard_encoded(
    lake: Lake, config: Config, store: Store, shard: int, candidate: str | None = None
) -> Outcome | None:
    """The outcome of `embed_shard` if all parts of the shard exist already; None if the encoder is needed."""
    with timed(f"embed shard {shard}") as outcome:
        table, head = table_of_lake(lake, config, candidate), store.head()
        if (
            table is None
            or shard >= len(head)
            or table.pointer.numbering != store.numbering.number
            or table.pointer.categories != scope.in_order(config.encoder.categories)
        ):
            return None
        spans = parts.spans(table, shard, head[shard], config.encoder.part_rows)
        done = all(parts.path(table, span).exists() for span in spans)
    return outcome if done else None


def take_parts(config: Config, store: Store, table: EmbeddingTable, outcome: Outcome) -> bool:
    """Merge the parts encoded by shard; returns whether the table is now up to date with the store."""
    head, field_head = store.head(), store.field_head()
    numbering.follow(store, table)
    scope.follow(config.encoder.categories, store, table)
    if taken := parts.take(table, store, config.encoder.commit_rows):
        outcome.detail["taken"] = taken
    outcome.made[str(table.root)] = str(table.pointer.revision)
    pointer = table.pointer
    return head == pointer.position and (not pointer.categories or field_head == pointer.field_position)


def table_of_lake(lake: Lake, config: Config, candidate: str | None = None) -> EmbeddingTable | None:
    """The table of an encoder whose fingerprint is known without loading it: of the lake, or seen before.

    None for other encoders, or if it has no table yet.
    """
    model = config.encoder.model
    named = LAKE_ENCODER + candidate if candidate else model
    if not (fingerprint := known_encoders.fingerprint_of(lake, named)):
        return None
    root = lake.embeddings(model, fingerprint)
    if not (root / POINTER).exists():
        return None
    return EmbeddingTable(root, fingerprint, read_pointer(root).width, _shards(lake, root))


def open_embeddings(lake: Lake, config: Config, encoder: Encoder) -> EmbeddingTable:
    """The embedding table of this encoder, created if there is none."""
    root = lake.embeddings(config.encoder.model, encoder.fingerprint)
    return EmbeddingTable(root, encoder.fingerprint, encoder.width, _shards(lake, root))


def _shards(lake: Lake, root: Path) -> int:
    """The number of shards of the embedding table at `root`; for a new table, that of the store."""
    return len(read_pointer(root).position) if (root / POINTER).exists() else layout(lake.store)[1]


def embed_changes(
    config: Config,
    store: Store,
    table: EmbeddingTable,
    encoder: Encoder,
    progress: Progress = no_progress,
    retry_failed: bool = False,
) -> Outcome:
    """Update the embedding table from the store: encode changed pictures and titles, keep the rest.

    A picture or title that this encoder has encoded before is not encoded again, whichever product had it. A
    picture that failed is retried when it changes, or with `retry_failed`; one that failed for lack of memory
    is retried in every run. Rows are committed every `commit_rows` products. The position in the store
    advances with the last commit only, so after a crash products already committed are read again and
    skipped. With `encoder.categories`, products outside these categories are treated like removed ones. If
    the list has changed since the last run, all products are checked, and only unknown content is encoded.
    """
    with timed("embed") as outcome:
        head, field_head = store.head(), store.field_head()
        up_to_date = take_parts(config, store, table, outcome)
        failed = set(table.failed(None if retry_failed else OUT_OF_MEMORY))
        if up_to_date and not failed:
            return _told(config, table, outcome)
        advance = progress("embed", sum(head) - sum(table.pointer.position) + len(failed))
        changes = _changes(store, table, failed)
        encoded = _encoded(config, store, table, encoder, changes, outcome, advance, failed)
        waited = _commit(table, encoded, config.encoder.commit_rows, head, field_head)
        outcome.spent["write"] = waited
        outcome.reused = outcome.rows - outcome.changed
        outcome.made[str(table.root)] = str(table.pointer.revision)
    return _told(config, table, outcome)


def _told(config: Config, table: EmbeddingTable, outcome: Outcome) -> Outcome:
    """Of imported vectors, count the live products that have none (`missing`), by reason."""
    if config.encoder.model.startswith(IMPORTED):
        reasons = table.without_vectors()
        outcome.refused, outcome.detail = 0, outcome.detail | {"missing": reasons.total(), **reasons}
    return outcome


def _commit(
    table: EmbeddingTable,
    encoded: Generator[pa.RecordBatch],
    commit_rows: int,
    head: Position,
    field_head: Position,
) -> float:
    """Commit rows every `commit_rows`, in another thread while the next ones are encoded; the last ones with
    the new position. Returns the seconds that encoding waited for it."""
    pending, waited = list[pa.RecordBatch](), 0.0
    with ThreadPoolExecutor(1, "commit") as writer, closing(encoded):
        commit: Future[None] | None = None
        for rows in encoded:
            pending.append(rows)
            if sum(batch.num_rows for batch in pending) >= commit_rows:
                waited += _waited(commit)
                commit = writer.submit(table.upsert, pa.Table.from_batches(pending), table.pointer.position)
                pending = []
        waited += _waited(commit)
    start = perf_counter()
    table.upsert(pa.Table.from_batches(pending, table.schema), head, field_head)
    return waited + perf_counter() - start


def _waited(commit: "Future[None] | None") -> float:
    """Wait for a commit; the seconds it took. Raises: what the commit raised."""
    start = perf_counter()
    if commit:
        commit.result()
    return perf_counter() - start


def embed_shard(
    config: Config,
    store: Store,
    table: EmbeddingTable,
    encoder: Encoder,
    shard: int,
    progress: Progress = no_progress,
) -> Outcome:
    """Encode the changed products of one shard into separate part files; `embed_changes` merges them.

    A part holds `part_rows` changes; existing parts are kept. Shards can be encoded in parallel, on several
    machines. The lake's lock isn't needed, because the table itself is not changed. Raises: InputError for a
    shard that the store doesn't have.
    """
    with timed(f"embed shard {shard}") as outcome:
        head = store.head()
        if not 0 <= shard < len(head):
            raise InputError(f"shard {shard}: the store has shards 0 to {len(head) - 1}")
        spans = list(parts.spans(table, shard, head[shard], config.encoder.part_rows))
        advance = progress(outcome.stage, sum(span.end - span.start for span in spans))
        for span in spans:
            if parts.path(table, span).exists():
                advance(span.end - span.start)
                continue
            after, until = (_moved(head, shard, number) for number in (span.start, span.end))
            changes = store.changes_since(after, until)
            parts.write(table, span, _encoded(config, store, table, encoder, changes, outcome, advance))
        outcome.reused = outcome.rows - outcome.changed
    return outcome


def _moved(position: Position, shard: int, number: int) -> Position:
    """The position with the number of one shard replaced."""
    return (*position[:shard], number, *position[shard + 1 :])


def _encoded(
    config: Config,
    store: Store,
    table: EmbeddingTable,
    encoder: Encoder,
    changes: Iterable[Changed],
    outcome: Outcome,
    advance: Advance,
    failed: Collection[str] = (),
) -> Generator[pa.RecordBatch]:
    """One row per product whose embedding is out of date; updates the counts in `outcome`.

    Changes are read and pictures decoded in other threads, while earlier ones are encoded.
    """
    section, counts = config.encoder, Counter[str](outcome.detail)
    looked_at = deque[int]()  # of each batch, the changes read up to it
    jobs = jobs_of(config, store, table, changes, failed, outcome, counts, looked_at)
    window = 2 * section.commit_rows // section.batch + 2 * AHEAD  # beyond it, vectors have been committed
    for encoded in embed_all(jobs, encoder, config.images.max_pixels, window):
        fault("embed.encoded")
        count_encoded(outcome, counts, encoded)
        yield encoded.rows
        advance(looked_at.popleft(), outcome.waits)
    advance(sum(looked_at), outcome.waits)
    outcome.detail |= counts


def jobs_of(
    config: Config,
    store: Store,
    table: EmbeddingTable,
    changes: Iterable[Changed],
    failed: Collection[str],
    outcome: Outcome,
    counts: Counter[str],
    looked_at: deque[int],
) -> Iterator[list[Job]]:
    """Batches of jobs; a batch of changes that need none is passed over."""
    categories, passed_over = set(table.pointer.categories), 0
    for changed in _chunks(changes, config.encoder.batch):
        outcome.rows += len(changed)
        inside = scope.fitting(changed, store, categories)
        if categories:
            counts["outside"] += sum(change.live for change in changed) - len(inside)
        passed_over += len(changed)
        if config.encoder.model.startswith(IMPORTED):
            jobs = import_plan.plan(changed, table.lookup([c.product_id for c in changed]), inside, {})
        else:
            jobs = _jobs(changed, inside, store, table, failed)
        if jobs:
            looked_at.append(passed_over)
            passed_over = 0
            yield jobs
    looked_at.append(passed_over)


def _changes(store: Store, table: EmbeddingTable, failed: Collection[str]) -> Iterator[Changed]:
    """The products changed since the table's position, followed by those whose picture `failed`.

    For a table restricted to categories, products whose lasting fields changed come too.
    """
    left, pointer = set(failed), table.pointer
    for change in store.changes_since(pointer.position):
        left.discard(change.product_id)
        yield change
    if pointer.categories and any(pointer.position):  # from the start, all have just come
        yield from store.field_changes_since(pointer.field_position or None)
    for product_id in sorted(left):
        if state := store.state(product_id):
            yield Changed(product_id, 0, state)


def count_encoded(outcome: Outcome, counts: Counter[str], encoded: Encoded) -> None:
    """Add what was encoded, and the time it took, to `outcome` and `counts`."""
    reasons = encoded.rows.filter(encoded.rows["live"])["image_reason"].to_pylist()
    outcome.changed += encoded.rows.num_rows
    outcome.refused += sum(reason not in (None, "none", OUT_OF_MEMORY) for reason in reasons)
    counts.update(pictures=encoded.pictures, titles=encoded.titles, titles_cut=encoded.cut)
    for part, seconds in (("decode", encoded.decode_seconds), ("towers", encoded.tower_seconds)):
        outcome.spent[part] = outcome.spent.get(part, 0) + seconds
    if encoded.profiles_ignored:
        counts["profiles_ignored"] += encoded.profiles_ignored
    if short := reasons.count(OUT_OF_MEMORY):
        counts[OUT_OF_MEMORY] += short
        log.warning(
            "not enough memory for the pictures of %d products; they are tried again in the next run", short
        )


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
    """The jobs for `changed`. Once done, a product of `changed` is live exactly if it is in `inside`."""
    rows = table.lookup([change.product_id for change in changed])
    changed = outdated(changed, rows, inside, failed)
    images = table.vectors("image", {change.image_hash for change in changed} - {EMPTY})
    texts = table.vectors("text", {change.text_hash for change in changed} - {EMPTY})
    records = store.get_many([change.product_id for change in changed])
    return plan(changed, records, rows, inside, failed, images, texts, store.picture)
