"""Which reader a table needs, by its path or address, and the state of its files."""

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mmprod.datasets.tables.arrow_table import ArrowTable
from mmprod.datasets.tables.csv_table import CsvTable
from mmprod.datasets.tables.delta_table import DeltaTable
from mmprod.datasets.tables.iceberg_table import METADATA, IcebergTable
from mmprod.datasets.tables.mapping import TableSpec
from mmprod.datasets.tables.parquet_table import ParquetTable
from mmprod.datasets.tables.partitions import ARROW, PARQUET, kind_of, table_files
from mmprod.datasets.tables.snapshot import Pinned, Snapshot
from mmprod.datasets.tables.xml_table import XmlTable
from mmprod.storage.errors import InputError

Files = ParquetTable | ArrowTable | CsvTable | XmlTable | DeltaTable | IcebergTable

_CSV = (".csv", ".tsv", ".txt")
_XML = (".xml",)
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(?=[^/])")  # `Path` has made one slash of two


class Opened(NamedTuple):
    """A table's reader, and what notices a change of its files."""

    files: Files
    snapshot: Snapshot | Pinned


def open_files(path: Path, spec: TableSpec) -> Opened:
    """Open the table at `path`, a file, a folder, or an address such as ``s3://bucket/table``.

    A folder with ``_delta_log`` is a Delta Lake table; one with ``metadata/*.metadata.json``, and the path or
    address of such a file, is an Iceberg table. Any other address is taken for that of a Delta Lake table.
    Raises: InputError, naming the file, when it is missing, incomplete, of an unknown kind or without rows.
    """
    address = _ADDRESS.sub(r"\1://", str(path), count=1)
    if address.endswith(METADATA) or any((path / "metadata").glob("*" + METADATA)):
        iceberg = IcebergTable(address, spec.options)
        return Opened(iceberg, iceberg.snapshot)
    if address != str(path) or (path / "_delta_log").is_dir():
        delta = DeltaTable(address, spec.options)
        return Opened(delta, delta.snapshot)
    snapshot = Snapshot(partial(table_files, path), path)
    return Opened(_reader(path, spec, snapshot.files), snapshot)


def _reader(path: Path, spec: TableSpec, files: list[Path]) -> Files:
    kind, suffix = kind_of(files[0]), path.suffix.lower()
    if kind == "Parquet":
        return ParquetTable(files, path)
    if kind == "Arrow":
        return ArrowTable(files, path)
    if suffix in _CSV:
        return CsvTable(path, spec)
    if suffix in _XML:
        return XmlTable(path, spec.optional)
    known = ", ".join(PARQUET + ARROW + _CSV + _XML)
    raise InputError(f"{path}: a product table ends in {known} or is a folder of Parquet")


def column_names(path: Path, spec: TableSpec) -> tuple[list[str], dict[str, object]]:
    """The names of a table's columns, and how its file is read (CSV: encoding, delimiter, quote and header).

    Raises: InputError, naming the file, when this can't be determined.
    """
    files = open_files(path, spec).files
    return files.schema.names, _form(files)


def _form(files: Files) -> dict[str, object]:
    if isinstance(files, XmlTable):
        return {"kind": "XML feed"}
    if isinstance(files, CsvTable):
        return {
            "kind": "CSV",
            "encoding": files.encoding,
            "delimiter": {"\t": "tab"}.get(files.delimiter, files.delimiter),
            "quote": files.quote or "none: quotes are letters",
            "header": f"line {files.header}",
        }
    extent = {"files": len(files.files), "rows": files.rows}
    if isinstance(files, DeltaTable):
        return {"kind": "Delta Lake", "version": files.version, **extent}
    if isinstance(files, IcebergTable):
        return {"kind": "Iceberg", "snapshot": files.version, **extent}
    return {"kind": "Arrow" if isinstance(files, ArrowTable) else "Parquet", **extent}
