"""The lake as a whole: what is current, is it as it was published, what can go."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmprod.datasets.embeddings import scope
from mmprod.datasets.embeddings.table import EmbeddingTable, read_pointer, verify
from mmprod.lake import LAKE_ENCODER, Lake
from mmprod.sections import Config
from mmprod.stages.daily.ingest import open_store
from mmprod.stages.outcome import Watch, silent
from mmprod.storage import artifacts, fencing
from mmprod.storage.errors import StateError

_ROWS = ("products", "pairs", "anchors", "rows", "judgements")  # the count that says how big an artifact is


def lake_status(lake: Lake, config: Config) -> list[dict[str, Any]]:
    """One row per store, embedding table and artifact: what, current, rows, encoder, made, note."""
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
        rows.append(_row(_name(lake, root), current, table.count(), table.pointer.encoder, note=note))
    rows += [_artifact(lake, root) for root in lake.artifact_roots()]
    return rows


def _encoders(lake: Lake, fingerprint: str) -> list[str]:
    """Whose vectors a table holds: the encoders of the lake that have that fingerprint now."""
    same = []
    for folder in sorted(lake.root.glob("encoders/*")):
        with contextlib.suppress(StateError):  # a damaged one has a row of its own that says so
            if lake.encoder_fingerprint(name := LAKE_ENCODER + folder.name) == fingerprint:
                same.append(name)
    return [f"of {', '.join(same)}"] if same else []


def _restriction(lake: Lake, config: Config, table: EmbeddingTable) -> list[str]:
    """Which categories a table is restricted to, and that the configured ones are others."""
    now, wanted = table.pointer.categories, scope.in_order(config.encoder.categories)
    told = [f"only {', '.join(now)}"] if now else []
    if now != wanted and table.root == lake.embeddings(config.encoder.model, table.pointer.encoder):
        told.append(f"configured: {', '.join(wanted) or 'all'}")
    return told


def _artifact(lake: Lake, root: Any) -> dict[str, Any]:
    try:
        name = artifacts.current(root)
        if name is None:
            return _row(_name(lake, root), "–", None, note="built, not in use")
        manifest = artifacts.Manifest.read(root / name)
    except StateError as error:
        return _row(_name(lake, root), "damaged", None, note=str(error))
    count = next((manifest.counts[key] for key in _ROWS if key in manifest.counts), None)
    encoder = manifest.inputs.get("encoder") or manifest.counts.get("fingerprint")
    age = datetime.now(UTC) - datetime.fromisoformat(manifest.created_at)
    others = len(artifacts.generations(root)) - 1
    note = f"{others} earlier or later" if others else ""
    return _row(_name(lake, root), name, count, encoder, f"{str(age).split('.')[0]} ago", note)


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


def _name(lake: Lake, root: Any) -> str:
    return str(root.relative_to(lake.root))


def verify_lake(lake: Lake, config: Config, watch: Watch = silent) -> list[str]:
    """Every difference between the lake and what was published; empty when all is well."""
    problems = []
    if lake.store.exists():
        with open_store(lake, config) as store:
            problems += [f"store: {problem}" for problem in store.verify()]
    for root in lake.embedding_roots():
        problems += verify(root) or _strays(lake, config, root)
    roots = lake.artifact_roots()
    advance = watch("verify", sum(len(artifacts.generations(root)) for root in roots))
    for root in roots:
        try:
            artifacts.current(root)
        except StateError as error:
            problems.append(str(error))
        for name in artifacts.generations(root):
            problems += [
                f"{_name(lake, root)}/{name}: {problem}" for problem in artifacts.verify(root / name)
            ]
            advance(1)
    return problems


def _strays(lake: Lake, config: Config, root: Path) -> list[str]:
    """Live rows of products that are outside of the table's categories; only where it is up to the store."""
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
    """Remove old generations of what can be built again (indexes, recall tables, encoders' tables stay)."""
    removed = []
    made_again = (lake.groups, lake.features, lake.found)
    for root in (*sorted(lake.root.glob("indexes/*")), *sorted(lake.root.glob("recall/*")), *made_again):
        removed += [f"{_name(lake, root)}/{name}" for name in artifacts.prune(root, keep)]
    for root in lake.embedding_roots():
        _open(root).tidy()
    fencing.forget(lake.root)
    return removed
