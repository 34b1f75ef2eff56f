"""Checks how a product table is read, without using the lake."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mmprod.datasets.images.images import BadImage, read_image_path
from mmprod.datasets.tables.mapping import Live, TableSpec
from mmprod.datasets.tables.proposal import has_needed, propose
from mmprod.datasets.tables.table import TableBatch, column_names, open_table
from mmprod.stages.outcome import Progress, no_progress
from mmprod.storage.errors import InputError
from mmprod.storage.files import replace_file

_SHOWN = 5


@dataclass
class TableReport:
    """How a table was read, the settings that fit it, its first products, and counts of its rows.

    `reasons` counts unusable rows and `unread` ignored figures, by reason; `first` names the first row of
    each.
    """

    table: str
    form: dict[str, Any]
    columns: list[str]
    dialect: str | None
    proposed: bool
    settings: dict[str, Any]
    rows: int = 0
    accepted: int = 0
    merged: int = 0
    gone: int = 0
    repeated: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    products: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "reasons": dict(self.reasons), "unread": dict(self.unread)}


def check_table(path: Path, spec: TableSpec, root: Path, progress: Progress = no_progress) -> TableReport:
    """Read all of a product table by `spec`, or by proposed settings if its columns don't fit.

    `root`: the folder of pictures given by path. Raises: InputError if the file can't be read at all.
    """
    names, form = column_names(path, spec)
    proposal = propose(names)
    fits = {spec.columns.get(name, name) for name in ("product_id", "title")} <= set(names)
    settings = _settings(spec) if fits else proposal.settings
    report = TableReport(str(path), form, names, proposal.dialect, not fits, settings)
    used = spec if fits else with_settings(spec, proposal.settings)
    try:
        if not fits and (lines := _lines_to_skip(path, used, form)):
            settings["skip_rows"] = lines
            used = replace(used, skip_rows=lines)
        _read(report, path, used, root, progress)
    except InputError as error:
        report.problem = str(error)
    return report


def with_settings(spec: TableSpec, settings: Mapping[str, Any]) -> TableSpec:
    """`spec` with these settings of the section ``[table]`` replaced."""
    live = settings.get("live")
    return TableSpec(**{**vars(spec), **settings, "live": Live(**live) if live else None})


def write_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Write a section ``[table]`` to a configuration file, which may exist.

    Raises: InputError if the file has such a section already.
    """
    before = path.read_text() if path.exists() else ""
    if any(line.strip().startswith("[table") for line in before.splitlines()):
        raise InputError(f"{path} has a section [table] already; change it there, or write to another file")
    lines = [f"{key} = {_toml(value)}" for key, value in settings.items()]
    replace_file(path, f"{before}{before and chr(10)}[table]\n" + "\n".join(lines) + "\n")


def _read(report: TableReport, path: Path, spec: TableSpec, root: Path, progress: Progress) -> None:
    table = open_table(path, spec)
    advance = progress("check", table.rows)
    ids: Counter[str] = Counter()
    for batch in table.batches():
        ids.update(batch.accepted.column("product_id").to_pylist())
        _count(report, batch)
        report.products += _products(batch, root)[: _SHOWN - len(report.products)]
        advance(batch.accepted.num_rows + len(batch.refused) + batch.merged)
    several = [name for name, count in ids.items() if count > 1]
    report.repeated = len(several)
    if several:
        table.check_repeated(several)


def _lines_to_skip(path: Path, spec: TableSpec, form: Mapping[str, Any]) -> list[int]:
    """The line numbers above the header, and of a second header below it, recognised by its names."""
    if "header" not in form:
        return []
    first = next(open_table(path, spec).batches(1)).accepted.to_pylist()
    second = bool(first) and has_needed([first[0]["product_id"], first[0]["title"] or ""])
    header = int(str(form["header"]).removeprefix("line "))
    return [*range(1, header), header + 1] if second else []


def _count(report: TableReport, batch: TableBatch) -> None:
    report.rows += batch.accepted.num_rows + len(batch.refused) + batch.merged
    report.accepted += batch.accepted.num_rows
    report.merged += batch.merged
    report.gone += sum(batch.accepted.column("deleted").fill_null(False).to_pylist())
    for row in batch.refused:
        reason = row.reason.partition(":")[0]
        report.reasons[reason] += 1
        report.first.setdefault(reason, f"{row.source} {row.reason}")
    for place, told in batch.unread:
        report.unread[told.partition(":")[0]] += 1
        report.first.setdefault(told.partition(":")[0], f"{batch.sources[place]} {told}")


def _products(batch: TableBatch, root: Path) -> list[dict[str, Any]]:
    return [
        {
            "product_id": row["product_id"],
            "title": row["title"],
            "category": " > ".join(row["category"] or ()),
            "picture": _picture(row, root),
            "further": len(row["pictures"] or ()),
        }
        for row in batch.accepted.slice(0, _SHOWN).to_pylist()
    ]


def _picture(row: Mapping[str, Any], root: Path) -> str:
    if row["image"]:
        return f"{len(row['image']):,} bytes"
    if not row["image_path"]:
        return row["image_url"] or "none"
    try:
        read_image_path(row["image_path"], root)
    except BadImage as bad:
        return f"{row['image_path']}: {bad.reason} below {root}"
    return str(row["image_path"])


def _settings(spec: TableSpec) -> dict[str, Any]:
    found = {key: value for key, value in vars(spec).items() if value not in (None, (), {}, 0)}
    return found | ({"live": asdict(spec.live)} if spec.live else {})


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{_toml(name)} = {_toml(inner)}" for name, inner in value.items())
        return f"{{ {', '.join(pairs)} }}"
    return json.dumps(value, ensure_ascii=False)
