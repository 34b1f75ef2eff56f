"""Tiny base models with random weights, whose tokenizer is made from a product table's titles."""

import shutil
import tempfile
from pathlib import Path

from mmprod.datasets.tables.table import open_table
from mmprod.datasets.text import normalise_title
from mmprod.encoders.clip import Encoder, save
from mmprod.encoders.random_base import Kind, random_base
from mmprod.sections import Config
from mmprod.storage.errors import InputError
from mmprod.storage.files import make_folder, sync_file, sync_tree


def make_base(config: Config, kind: Kind, table: Path, folder: Path, width: int = 64) -> Encoder:
    """Write a random base with a tokenizer from the table's titles; the folder is created atomically.

    Raises: InputError if the folder exists already, or the table has no titles.
    """
    if folder.exists():
        raise InputError(f"{folder} is there already; name another folder")
    encoder = random_base(kind, _titles(config, table), width)
    make_folder(folder.parent)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        draft.chmod(0o755)  # mkdtemp's default would hide it from other users
        save(encoder, draft)
        sync_tree(draft)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_file(folder.parent)
    return encoder


def _titles(config: Config, path: Path) -> list[str]:
    batches = open_table(path, config.table_spec).batches()
    titles = (title for batch in batches for title in batch.accepted["title"].to_pylist())
    return [title for title in map(normalise_title, titles) if title]
