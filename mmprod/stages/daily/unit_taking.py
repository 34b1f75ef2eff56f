"""Parts of units → the embedding table (`mmprod.datasets.embeddings.units`)."""

import logging
from collections import Counter

from mmprod.datasets.embeddings import parts, units
from mmprod.datasets.embeddings.table import POINTER, EmbeddingTable
from mmprod.datasets.embeddings.units import Plan, Unit, some, the_plan
from mmprod.datasets.store.store import Store
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.daily.embed import take_parts
from mmprod.stages.outcome import Outcome, timed
from mmprod.storage.errors import StateError
from mmprod.storage.shared_folder import Folder

log = logging.getLogger(__name__)


def take_units(lake: Lake, config: Config, store: Store, folder: Folder) -> Outcome:
    """Merge the parts of a folder's plan into the embedding table; the caller holds the lake's lock.

    A shard's parts are merged in order, as far as there are any; changes that are left are encoded by the
    next `embed` or plan. Raises: InputError if there is no plan; StateError if it is of another table, and,
    after the others are merged, if a part is damaged or not of its unit.
    """
    with timed("take") as outcome:
        plan = the_plan(folder)
        table = _table(lake, config, store, folder, plan, outcome)
        there, counts, refused = folder.modified(), Counter[str](), dict[str, str]()
        missing = list[str]()
        for unit in plan.units:  # by shard, in order
            position = table.pointer.position[unit.span.shard]
            if position >= unit.span.end:
                outcome.reused += unit.rows
            elif unit.part not in there:
                missing.append(unit.name)
            elif position != unit.span.start:
                counts["waiting"] += 1  # for an earlier one
            else:
                try:
                    outcome.changed += _merge(config, store, table, folder, plan, unit)
                    counts["parts"] += 1
                except StateError as error:
                    refused[unit.name] = str(error)
                    log.error("%s", error)
        outcome.rows = outcome.changed + outcome.reused
        outcome.detail |= {**counts, "missing": len(missing)}
        outcome.made[str(table.root)] = str(table.pointer.revision)
    if missing:
        log.warning("%d units have no part: %s; `mmprod embed` encodes them", len(missing), some(missing))
    if refused:
        raise StateError(
            f"{len(refused)} parts can't be merged, {counts['parts']} are: {some(refused)}; remove them and "
            "encode their units again, or run `mmprod embed`"
        )
    return outcome


def _merge(
    config: Config, store: Store, table: EmbeddingTable, folder: Folder, plan: Plan, unit: Unit
) -> int:
    """Merge a unit's part; returns the number of rows. Raises: StateError if it is not of this unit."""
    with folder.local(unit.part) as file:
        if problem := units.problem(file, plan, unit, store):
            raise StateError(f"part {unit.part} {problem}")
        parts.put(table, unit.span, file)
    return parts.take(table, store, config.encoder.commit_rows)


def _table(
    lake: Lake, config: Config, store: Store, folder: Folder, plan: Plan, outcome: Outcome
) -> EmbeddingTable:
    """The table that the plan is of."""
    root = lake.embeddings(config.encoder.model, plan.encoder)
    if not (root / POINTER).exists():
        raise StateError(
            f"{folder.address} was planned for {plan.model} with fingerprint {plan.encoder[:12]}, of which "
            f"{lake.root} has no embedding table for {config.encoder.model}"
        )
    table = EmbeddingTable(root, plan.encoder, plan.width, len(plan.start))
    take_parts(config, store, table, outcome)
    pointer = table.pointer
    if (pointer.restarts, pointer.numbering) != (plan.restarts, plan.numbering):
        raise StateError(
            f"{folder.address} was planned before {root} began anew for other categories or another number "
            f"of shards (restart {plan.restarts}, now {pointer.restarts}); plan again into another folder"
        )
    return table
