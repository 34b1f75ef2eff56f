"""Units → parts, on machines without the store (`mmprod.datasets.embeddings.units`)."""

import logging
import random
import time
from collections import Counter
from collections.abc import Collection, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mmprod.datasets.embeddings import units
from mmprod.datasets.embeddings.units import Plan, Unit, the_plan
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.stream import embed_all
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.backend import embedding_encoder
from mmprod.stages.daily.embed import count_encoded
from mmprod.stages.outcome import Advance, Outcome, Progress, no_progress, timed
from mmprod.storage import parquet
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.faults import fault
from mmprod.storage.shared_folder import Folder, open_folder

log = logging.getLogger(__name__)
_LOOK = 5.0  # seconds between looks whether another worker has finished the same unit
_WINDOW = 32  # batches in which an equal picture or title is not encoded again


class OvertakenError(Exception):
    """Another worker has finished the unit."""


@dataclass(frozen=True)
class Worker:
    """What encodes units of one plan."""

    config: Config
    folder: Folder
    plan: Plan
    encoder: Encoder

    def encode(self, unit: Unit, outcome: Outcome, advance: Advance = lambda rows, note="": None) -> None:
        """Encode a unit to its part; updates the counts in `outcome`.

        Raises: StateError if the unit is damaged or missing; OvertakenError if another worker finished it.
        """
        try:
            with self.folder.local(unit.file) as path, self.folder.draft() as draft:
                units.check_unit(path, unit)
                rows = self._rows(unit, path, outcome, advance)
                parquet.write(draft, rows, units.part_schema(self.plan, unit))
                self.folder.publish(draft, unit.part)
        except FileNotFoundError as error:
            raise StateError(f"unit {unit.file} is missing in {self.folder.address}") from error

    def _rows(self, unit: Unit, path: Path, outcome: Outcome, advance: Advance) -> Generator[pa.RecordBatch]:
        counts, looked = Counter[str](outcome.detail), time.monotonic()
        jobs = units.jobs_in(path, self.config.encoder.batch)
        with closing(embed_all(jobs, self.encoder, self.plan.max_pixels, _WINDOW)) as batches:
            for encoded in batches:
                fault("embed.encoded")
                count_encoded(outcome, counts, encoded)
                yield encoded.rows
                outcome.rows = outcome.changed
                advance(encoded.rows.num_rows, outcome.waits)
                if time.monotonic() > looked + _LOOK:
                    looked = time.monotonic()
                    if unit.part in self.folder.modified():
                        raise OvertakenError
        outcome.detail |= counts


def open_worker(lake: Lake, config: Config, folder: Folder, plan: Plan, candidate: str | None) -> Worker:
    """A worker with the configured encoder, or `candidate`, in the backend measured for this machine.

    Nothing is measured here. Raises: InputError if the plan is of another encoder.
    """
    encoder = embedding_encoder(lake, config, None, candidate)
    if plan.encoder != encoder.fingerprint:
        raise InputError(
            f"{folder.address} was planned for {plan.model} with fingerprint {plan.encoder[:12]}, this "
            f"encoder has {encoder.fingerprint[:12]}; give the worker the same one (encoder.model), or plan "
            "again"
        )
    return Worker(config, folder, plan, encoder)


def encode_units(
    lake: Lake, config: Config, address: str, candidate: str | None = None, progress: Progress = no_progress
) -> Outcome:
    """Encode units of the plan in the folder at `address` to parts, until every one has its part.

    Any number of workers may do this at the same time. Each takes a unit that nobody has begun; when there is
    none, the one that was begun longest ago, as its worker may be dead. The part that is complete first
    counts. The encoder is loaded only if a part is missing. Raises: InputError if there is no plan or it is
    of another encoder; StateError, after all others are encoded, if a unit is damaged or missing.
    """
    plan = the_plan(folder := open_folder(address))
    if not left(plan, folder):
        return Outcome("encode", reused=sum(unit.rows for unit in plan.units))
    return encode_left(open_worker(lake, config, folder, plan, candidate), progress)


def encode_left(worker: Worker, progress: Progress = no_progress) -> Outcome:
    """As `encode_units`, for a worker."""
    plan, refused = worker.plan, dict[str, str]()
    with timed("encode") as outcome:
        waiting = sum(unit.rows for unit in left(plan, worker.folder))
        advance = progress("encode", waiting)
        while unit := _next(plan, worker.folder.modified(), refused):
            _try(worker, unit, outcome, advance, refused)
        outcome.reused = sum(unit.rows for unit in plan.units) - waiting
    raise_refused(plan, refused)
    return outcome


def left(plan: Plan, folder: Folder) -> list[Unit]:
    """The units of a plan that have no part yet."""
    there = folder.modified()
    return [unit for unit in plan.units if unit.part not in there]


def _next(plan: Plan, there: Mapping[str, float], refused: Collection[str]) -> Unit | None:
    waiting = [unit for unit in plan.units if unit.part not in there and unit.name not in refused]
    if fresh := [unit for unit in waiting if unit.begun not in there]:
        return random.choice(fresh)  # workers that start together take different ones
    return min(waiting, key=lambda unit: there[unit.begun], default=None)


def _try(worker: Worker, unit: Unit, outcome: Outcome, advance: Advance, refused: dict[str, str]) -> None:
    worker.folder.mark(unit.begun)
    try:
        worker.encode(unit, outcome, advance)
    except OvertakenError:
        pass
    except StateError as error:
        refused[unit.name] = str(error)
        log.error("%s; the other units go on", error)


def raise_refused(plan: Plan, refused: Mapping[str, str]) -> None:
    """Raise StateError if units were refused; `refused` gives the reasons by name."""
    if refused:
        raise StateError(
            f"{len(refused)} of {len(plan.units)} units can't be encoded: {units.some(refused)}; "
            "`mmprod embed`, or a plan in another folder, has their changes again"
        )
