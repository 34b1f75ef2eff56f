"""What has to be encoded, as units for machines without the store (`mmprod.datasets.embeddings.units`)."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from mmprod.datasets.embeddings import units
from mmprod.datasets.embeddings.parts import Span
from mmprod.datasets.embeddings.plan import Job
from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.embeddings.units import Plan, Unit, UnitWriter
from mmprod.datasets.identity import EMPTY, content_hash
from mmprod.datasets.store.layout import Position
from mmprod.datasets.store.store import Changed, Store
from mmprod.lake import IMPORTED, Lake
from mmprod.sections import Config
from mmprod.stages.daily.embed import jobs_of, open_embeddings, table_of_lake, take_parts
from mmprod.stages.encoder import open_encoder
from mmprod.stages.outcome import Advance, Outcome, Progress, no_progress, timed
from mmprod.storage.errors import InputError
from mmprod.storage.shared_folder import Folder

_READ = 10_000  # sequence numbers looked at together


def plan_units(
    lake: Lake,
    config: Config,
    store: Store,
    folder: Folder,
    candidate: str | None = None,
    wait: bool = False,
    progress: Progress = no_progress,
) -> Outcome:
    """Write what has to be encoded to `folder`: units, then their plan.

    First, the embedding table is created if there is none, and takes the parts that were encoded by shard.
    Only that takes the lake's lock. A plan that is there already is kept if it is of the same changes.
    Raises: InputError for imported vectors, and for a folder with another plan; StateError if another process
    holds the lock, unless `wait`.
    """
    if config.encoder.model.startswith(IMPORTED) and not candidate:
        raise InputError(f"encoder.model is {config.encoder.model!r}: imported vectors are not encoded")
    with timed("plan") as outcome:
        with lake.writing(wait):
            known = table_of_lake(lake, config, candidate)
            table = known or open_embeddings(lake, config, open_encoder(lake, config, candidate=candidate))
            take_parts(config, store, table, outcome)
        plan = _empty_plan(config, store, table)
        if kept := units.read_plan(folder):
            plan = _kept(folder, kept, plan)
        else:
            plan = replace(plan, units=tuple(_units(config, store, table, folder, plan, outcome, progress)))
            units.write_plan(folder, plan)
        outcome.changed = sum(unit.rows for unit in plan.units)
        outcome.reused = max(0, outcome.rows - outcome.changed)
        outcome.detail |= {"units": len(plan.units), "MB": sum(unit.size for unit in plan.units) // 10**6}
    return outcome


def _empty_plan(config: Config, store: Store, table: EmbeddingTable) -> Plan:
    pointer = table.pointer
    return Plan(
        encoder=pointer.encoder,
        model=config.encoder.model,
        width=pointer.width,
        max_pixels=config.images.max_pixels,
        restarts=pointer.restarts,
        numbering=pointer.numbering,
        categories=pointer.categories,
        start=pointer.position,
        head=store.head(),
        units=(),
    )


def _kept(folder: Folder, kept: Plan, wanted: Plan) -> Plan:
    if replace(kept, units=()) != wanted:
        raise InputError(
            f"{folder.address} holds a plan of other changes: from position {list(kept.start)} to "
            f"{list(kept.head)}, now {list(wanted.start)} to {list(wanted.head)}; plan into another folder"
        )
    return kept


def _units(
    config: Config,
    store: Store,
    table: EmbeddingTable,
    folder: Folder,
    plan: Plan,
    outcome: Outcome,
    progress: Progress,
) -> Iterator[Unit]:
    """Write all units of a plan, one after the other."""
    advance = progress("plan", sum(plan.head) - sum(plan.start))
    for shard, (start, end) in enumerate(zip(plan.start, plan.head, strict=True)):
        changes = _in_order(store, plan.head, Span(shard, start, end))
        jobs = _jobs(config, store, table, changes, outcome, advance)
        while start < end:
            unit = _unit(config, folder, plan, Span(shard, start, end), jobs)
            yield unit
            start = unit.span.end


def _in_order(store: Store, head: Position, span: Span) -> Iterator[Changed]:
    """The changes of a span by sequence number: the store returns them in order of id.

    A product that has changed again since `head` is left out: that change belongs to a later span.
    """
    for start in range(span.start, span.end, _READ):
        end = min(start + _READ, span.end)
        after, until = ((*head[: span.shard], n, *head[span.shard + 1 :]) for n in (start, end))
        found = [change for change in store.changes_since(after, until) if change.state.sequence <= end]
        yield from sorted(found, key=lambda change: change.state.sequence)


def _unit(config: Config, folder: Folder, plan: Plan, span: Span, jobs: Iterator[tuple[int, Job]]) -> Unit:
    """Write a unit of the next jobs. It ends with the span, or with the last job that it has room for."""
    with folder.draft() as draft:
        writer = UnitWriter(draft)
        for sequence, job in jobs:
            writer.add(job)
            if writer.rows >= config.encoder.part_rows or writer.bytes >= config.encoder.unit_bytes:
                span = span._replace(end=sequence)
                break
        unit = writer.finish(plan.restarts, span)
        folder.publish(draft, unit.file)
    return unit


def _jobs(
    config: Config,
    store: Store,
    table: EmbeddingTable,
    changes: Iterable[Changed],
    outcome: Outcome,
    advance: Advance,
) -> Iterator[tuple[int, Job]]:
    """The jobs of one shard's changes, each with the sequence number of its change.

    A product whose title has changed since its change was read is left out: it belongs to a later span.
    """
    sequences, looked_at = dict[str, int](), deque[int]()

    def noted() -> Iterator[Changed]:
        for change in changes:
            sequences[change.product_id] = change.state.sequence
            yield change

    for jobs in jobs_of(config, store, table, noted(), (), outcome, Counter(), looked_at):
        for job in jobs:
            if job.title is None or content_hash(job.title.encode()) == (job.text_hash or EMPTY):
                yield sequences[job.product_id], job
        sequences.clear()
        advance(looked_at.popleft())
    advance(sum(looked_at))
