"""The files of a table: one file, or a folder of them, also partitioned as Hive and Spark write it.

In ``dt=2026-11-30/part-0.parquet`` the folder gives the file's rows a column `dt` of the text 2026-11-30.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa

from mmprod.storage.errors import InputError

PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
_NULL = "__HIVE_DEFAULT_PARTITION__"


def table_files(path: Path) -> list[Path]:
    """The files of the table at `path`, in the order in which they are read: by name, folder by folder.

    Hidden files and markers such as _SUCCESS are ignored. Raises: InputError when there is no file, and for a
    folder that holds anything else: it may be a table still being uploaded, whose products would be missing.
    """
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{path}: there is no such product table")
        return [path]
    if (path / ".hoodie").is_dir():
        raise InputError(
            f"{path} is a Hudi table; which of its files count can't be told: export it as Parquet"
        )
    files = list(_below(path, ()))
    odd = [file for file in files if kind_of(file) != kind_of(files[0])]
    if odd:
        raise InputError(f"{path} holds both {files[0].name} and {odd[0].name}; keep files of one kind")
    return files


def kind_of(path: Path) -> str:
    """The kind of a table's files: "Parquet", "Arrow", or "" for any other."""
    suffix = path.suffix.lower()
    return "Parquet" if suffix in PARQUET else "Arrow" if suffix in ARROW else ""


def _below(folder: Path, keys: tuple[str, ...]) -> Iterator[Path]:
    parts = sorted(part for part in folder.iterdir() if not part.name.startswith((".", "_")))
    if not parts:
        raise InputError(f"{folder} holds no Parquet files")
    for part in parts:
        key = part.name.partition("=")[0] if "=" in part.name and part.is_dir() else ""
        if key and key not in keys:
            yield from _below(part, (*keys, key))
        elif kind_of(part) and part.is_file():
            yield part
        else:
            raise InputError(f"{folder} holds {part.name}, which is no Parquet file; move it elsewhere")


def partition_of(root: Path | None, path: Path) -> dict[str, str | None]:
    """The columns that the folders between `root` and a file stand for, and their values."""
    if root is None or root == path:
        return {}
    pairs = (_text(Path(part)).partition("=") for part in path.relative_to(root).parts[:-1])
    return {unquote(key): None if value == _NULL else unquote(value) for key, _, value in pairs}


def name_below(root: Path | None, path: Path) -> str:
    """The name of a table's file for messages: its path below `root`, as valid text."""
    return _text(Path(path.name) if root is None or root == path else path.relative_to(root))


def with_partition_fields(own: Iterable[pa.Field], root: Path | None, path: Path) -> pa.Schema:
    """A file's own columns and, unless it has them itself, those of its folders."""
    fields = list(own)
    names = {field.name for field in fields}
    further = (name for name in partition_of(root, path) if name not in names)
    return pa.schema([*fields, *(pa.field(name, pa.string()) for name in further)])


def with_partition(batch: pa.RecordBatch, values: Mapping[str, str | None]) -> pa.RecordBatch:
    """The batch with a further column for each of `values`, the same in all rows."""
    for name, value in values.items():
        batch = batch.append_column(name, pa.repeat(pa.scalar(value, pa.string()), batch.num_rows))
    return batch


def _text(path: Path) -> str:
    return os.fsencode(str(path)).decode("utf-8", "replace")
