"""Vectors made elsewhere → embedding table."""

import secrets
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmprod.datasets.embeddings import import_plan, import_record, scope
from mmprod.datasets.embeddings.plan import Job
from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.embeddings.vector_checks import LEFT_OUT, Checker
from mmprod.datasets.embeddings.vector_files import VectorFile
from mmprod.datasets.store.store import Store
from mmprod.encoders.imported import Imported
from mmprod.encoders.stream import embed
from mmprod.lake import IMPORTED, Lake
from mmprod.sections import Config
from mmprod.stages.daily.embed import open_embeddings, take_parts
from mmprod.stages.outcome import Advance, Outcome, Progress, no_progress, timed
from mmprod.storage import fencing, parquet
from mmprod.storage.errors import InputError
from mmprod.storage.files import make_folder, sync_file

_ALIKE, _ENOUGH = 0.99, 10
"""Of one model and the same picture, two vectors have a cosine over _ALIKE; told from _ENOUGH of them."""


def import_vectors(
    lake: Lake,
    config: Config,
    store: Store,
    file: VectorFile,
    model: str | None = None,
    new: bool = False,
    progress: Progress = no_progress,
) -> Outcome:
    """Import vectors into the embedding table of the configured encoder ``import:NAME``.

    The file is read twice: to check it, then to write the rows that differ. All of them count from one moment
    on; a run that dies before leaves the table as it was. Vectors are scaled to unit length. Rows that can't
    be used are left out and listed in `lake/quarantine`. The caller holds the lake's lock.

    `model`: a description of the model that made the vectors; it must be that of the imports before. `new`:
    the vectors are of another model than those before; all of the former are given up.
    Raises: InputError, with nothing changed, for a file that can't be read, an id in several rows, vectors of
    different widths, no usable vector at all, and vectors of another model without `new`.
    """
    name = _name(config)
    with timed("import") as outcome:
        stamp, before = file.stamp, import_record.read(lake.imports, name)
        advance = progress("import", 2 * file.rows)
        checker = Checker(file, store.known)
        list_ = lake.quarantine / f"import-{name}-{stamp[:12]}.parquet"
        outcome.rows, usable = _examined(checker, list_, advance)
        if not usable:
            told = ", ".join(f"{count:,} {reason}" for reason, count in checker.reasons.most_common())
            raise InputError(
                f"{file.path}: none of {outcome.rows:,} rows can be used: {told or 'no vectors'}"
            )
        record = import_record.chosen(before, name, checker.width, model, new, stamp)
        root = lake.embeddings(config.encoder.model, record.fingerprint)
        table = open_embeddings(
            lake, config, Imported(config.encoder.model, record.fingerprint, record.width, root)
        )
        take_parts(config, store, table, outcome)
        _write(config, store, table, file, outcome, advance, check=record == before and model is None)
        if record != before:
            with fencing.publishing():
                import_record.write(lake.imports, record)
        _tell(outcome, checker.reasons, usable, list_)
        outcome.made[str(table.root)] = str(table.pointer.revision)
    return outcome


def _name(config: Config) -> str:
    if not config.encoder.model.startswith(IMPORTED):
        raise InputError(f"encoder.model is {config.encoder.model!r}, want {IMPORTED}NAME")
    return config.encoder.model.removeprefix(IMPORTED)


def _examined(checker: Checker, list_: Path, advance: Advance) -> tuple[int, int]:
    """Check the whole file and write the list of the rows left out; returns the numbers of rows and of
    products with a usable vector."""
    rows = usable = 0

    def left_out() -> Iterator[pa.RecordBatch]:
        nonlocal rows, usable
        for batch in checker.file.batches():
            found = checker.check(batch)
            rows += len(batch.ids)
            usable += len(set().union(*found.vectors.values()))
            yield found.left_out
            advance(len(batch.ids))

    make_folder(list_.parent)
    draft = list_.with_name(f".{list_.stem}.{secrets.token_hex(4)}.draft")
    try:
        parquet.write(draft, left_out(), LEFT_OUT)
        checker.check_repeated()
        if checker.reasons:
            sync_file(draft)
            draft.replace(list_)
            sync_file(list_.parent)
    finally:
        draft.unlink(missing_ok=True)
    return rows, usable


def _write(
    config: Config,
    store: Store,
    table: EmbeddingTable,
    file: VectorFile,
    outcome: Outcome,
    advance: Advance,
    check: bool,
) -> None:
    """Write the rows that differ. `check`: that the vectors are alike to those of the same content before.

    Raises: InputError if they are not; then, and if the file was changed meanwhile, nothing was written.
    """
    checker, stamp, alike = Checker(file, store.known), file.stamp, list[float]()
    encoder = Imported(config.encoder.model, table.pointer.encoder, table.pointer.width, table.root)

    def commits() -> Iterator[tuple[pa.Table, Collection[str]]]:
        for batch in file.batches(config.encoder.commit_rows):
            given = checker.check(batch).vectors
            changed = list(store.known(set().union(*given.values())).values())
            rows = table.lookup([change.product_id for change in changed])
            alike.extend(import_plan.cosines(changed, rows, given))
            inside = scope.fitting(changed, store, set(table.pointer.categories))
            jobs: list[Job] = import_plan.plan(changed, rows, inside, given)
            if jobs:
                outcome.changed += len(jobs)
                yield pa.Table.from_batches([embed(jobs, encoder).rows]), import_plan.touched(jobs, rows)
            advance(len(batch.ids))
        if file.stamp != stamp:
            raise InputError(f"{file.path} was changed while it was read: import it again")
        if check:
            _check_alike(config, alike)

    table.upsert_all(commits())


def _check_alike(config: Config, cosines: list[float]) -> None:
    if len(cosines) >= _ENOUGH and (middle := float(np.median(cosines))) < _ALIKE:
        raise InputError(
            f"{len(cosines):,} vectors are of pictures or titles that {config.encoder.model} has vectors of; "
            f"the median cosine with these is {middle:.3f}. If another model made them, pass --new, or "
            "choose another name; if not, say so with --model as it was said before; nothing was imported"
        )


def _tell(outcome: Outcome, reasons: Counter[str], usable: int, list_: Path) -> None:
    outcome.reused = usable - outcome.changed
    outcome.refused = reasons.total()
    outcome.detail |= {**reasons, **({"left_out": str(list_)} if reasons else {})}
