"""The lake as a whole: status, verification and pruning."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmprod.datasets.embeddings import scope
from mmprod.datasets.embeddings.table import EmbeddingTable, read_pointer, verify
from mmprod.lake import IMPORTED, LAKE_ENCODER, Lake
from mmprod.sections import Config
from mmprod.stages.generations import (
    KINDS,
    damage_of,
    encoder_of,
    place,
    prune_below,
    prune_generations,
    rows_of,
)
from mmprod.stages.outcome import Progress, no_progress
from mmprod.stages.store import open_store
from mmprod.storage import artifacts, fencing
from mmprod.storage.errors import StateError


def lake_status(lake: Lake, config: Config) -> list[dict[str, Any]]:
    """One row each for store, embedding tables and artifacts: what, current, rows, encoder, made, note."""
    rows = []
    if lake.store.exists():
        with open_store(lake, config) as store:
            stats = store.stats()
            note = f"{stats.removed:,} removed, {stats.pictures:,} pictures, {stats.bytes / 1e6:,.1f} MB"
            rows.append(_row("store", f"day {stats.latest_full_day or '–'}", stats.live, note=note))
    for root in lake.embedding_roots():
        table = _open(root)
        told = [*_encoders(lake, table.pointer.encoder), *_restriction(lake, config, table)]
        current, note = f"version {table.pointer.version}", "; ".join(told)
        rows.append(_row(place(lake, root), current, table.count(), table.pointer.encoder, note=note))
    rows += [_artifact(lake, root) for root in lake.artifact_roots()]
    return rows


def _encoders(lake: Lake, fingerprint: str) -> list[str]:
    """The encoders of the lake, and imports, of which `fingerprint` is the current one, as a note."""
    same = []
    for folder in sorted(lake.root.glob("encoders/*")):
        with contextlib.suppress(StateError):  # a damaged encoder has a row of its own that says so
            if lake.encoder_fingerprint(name := LAKE_ENCODER + folder.name) == fingerprint:
                same.append(name)
    for path in sorted(lake.imports.glob("*.json")):
        with contextlib.suppress(StateError):
            if lake.encoder_fingerprint(name := IMPORTED + path.stem) == fingerprint:
                same.append(name)
    return [f"of {', '.join(same)}"] if same else []


def _restriction(lake: Lake, config: Config, table: EmbeddingTable) -> list[str]:
    """The categories a table is restricted to, and the configured ones if they differ."""
    now, wanted = table.pointer.categories, scope.in_order(config.encoder.categories)
    told = [f"only {', '.join(now)}"] if now else []
    if now != wanted and table.root == lake.embeddings(config.encoder.model, table.pointer.encoder):
        told.append(f"configured: {', '.join(wanted) or 'all'}")
    return told


def _artifact(lake: Lake, root: Any) -> dict[str, Any]:
    try:
        name = artifacts.current(root)
        if name is None:
            return _row(place(lake, root), "–", None, note="built, not in use")
        manifest = artifacts.Manifest.read(root / name)
    except StateError as error:
        return _row(place(lake, root), "damaged", None, note=str(error))
    age = datetime.now(UTC) - datetime.fromisoformat(manifest.created_at)
    others = len(artifacts.generations(root)) - 1
    note = f"{others} earlier or later" if others else ""
    made = f"{str(age).split('.')[0]} ago"
    return _row(place(lake, root), name, rows_of(manifest), encoder_of(manifest), made, note)


def _row(
    what: str, current: str, rows: int | None, encoder: str | None = None, made: str = "", note: str = ""
) -> dict[str, Any]:
    return {
        "what": what,
        "current": current,
        "rows": rows,
        "encoder": (encoder or "")[:12],
        "made": made,
        "note": note,
    }


def verify_lake(lake: Lake, config: Config, progress: Progress = no_progress) -> list[str]:
    """Every difference between the lake and what was published; empty if there is none."""
    problems = []
    if lake.store.exists():
        with open_store(lake, config) as store:
            problems += [f"store: {problem}" for problem in store.verify()]
    for path in sorted(lake.imports.glob("*.json")):
        try:
            lake.encoder_fingerprint(IMPORTED + path.stem)
        except StateError as error:
            problems.append(str(error))
    for root in lake.embedding_roots():
        problems += verify(root) or _strays(lake, config, root)
    roots = lake.artifact_roots()
    advance = progress("verify", sum(len(artifacts.generations(root)) for root in roots))
    return [*problems, *(problem for root in roots for problem in damage_of(lake, root, advance))]


def vectors_by_backend(lake: Lake) -> dict[str, dict[str, dict[str, int]]]:
    """By embedding table and modality: how many vectors of live products each backend made, "" for one that
    was not recorded."""
    return {place(lake, root): _open(root).backends() for root in lake.embedding_roots()}


def _strays(lake: Lake, config: Config, root: Path) -> list[str]:
    """Report live rows outside the table's categories; only if the table is up to date with the store."""
    table = _open(root)
    if not table.pointer.categories or not lake.store.exists():
        return []
    with open_store(lake, config) as store:
        if store.head() != table.pointer.position:
            return []
        strays = scope.strays(table, store)
    some = ", ".join(map(repr, strays[:3]))
    only = ", ".join(table.pointer.categories)
    return [f"{root}: {len(strays)} products outside of {only} are live, such as {some}"] if strays else []


def _open(root: Path) -> EmbeddingTable:
    pointer = read_pointer(root)
    return EmbeddingTable(root, pointer.encoder, pointer.width, len(pointer.position))


def prune_lake(lake: Lake, keep: int) -> list[str]:
    """Remove old generations of artifacts that can be rebuilt, and tidy the embedding tables."""
    removed = []
    for kind in ("index", "recall", "groups", "features"):
        removed += prune_generations(lake, KINDS[kind], keep)
    removed += prune_below(lake, lake.found, keep)
    for root in lake.embedding_roots():
        _open(root).tidy()
    fencing.forget(lake.root)
    return removed
