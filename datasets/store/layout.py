"""The file ``store.json`` of a product store: format, number of shards, and the numbering of its changes."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from mmprod.storage.errors import StateError
from mmprod.storage.files import replace_file

FORMAT = 2
Position = tuple[int, ...]
"""How far a consumer has read: one sequence number a shard."""


class Numbering(NamedTuple):
    """The numbering of a store's changes, a new one each time the store is resharded: 0, 1, 2, …

    `before` and `since` are one place in two numberings: the positions (head, field_head) of the store before
    it was resharded, and those of the store that was made from it. A consumer at `before` is at `since` now.
    """

    number: int = 0
    before: tuple[Position, Position] = ((), ())
    since: tuple[Position, Position] = ((), ())


def layout(path: Path) -> tuple[int, int]:
    """The format of the store at `path`, and its number of shards. Raises: StateError when unreadable."""
    found = _content(path)
    return int(found["format"]), int(found["shards"])


def numbering(path: Path) -> Numbering:
    """The numbering of the store at `path`. Raises: StateError when unreadable."""
    number, *places = _content(path).get("numbering", (0, ((), ()), ((), ())))
    before, since = ((tuple(head), tuple(field_head)) for head, field_head in places)
    return Numbering(number, before, since)


def write_layout(path: Path, shards: int, numbered: Numbering = Numbering()) -> None:  # noqa: B008
    """Record the number of shards of a new store, and its numbering."""
    content: dict[str, object] = {"format": FORMAT, "shards": shards}
    if numbered.number:
        content["numbering"] = numbered
    replace_file(path / "store.json", json.dumps(content))


def shards_of(path: Path, shards: int | None, read_only: bool) -> int:
    """Number of shards of the store at `path`; for a new store, a writer records `shards`, by default 1.

    Raises: StateError when the store is missing, of another format, or has another number than `shards`.
    """
    if not read_only and not (path / "store.json").exists():
        write_layout(path, shards or 1)
    found, count = layout(path)
    if found != FORMAT:
        cure = "run `mmprod store migrate`" if found == 1 else "make it anew"
        raise StateError(f"{path}: store format {found}, this version reads {FORMAT}; {cure}")
    if shards not in (None, count):
        raise StateError(
            f"{path} has {count} shards, {shards} are configured; configure store.shards = {count} or "
            f'"auto", or give the store another number with `mmprod store reshard {shards}`'
        )
    return count


def _content(path: Path) -> dict[str, Any]:
    file = path / "store.json"
    if not file.exists():
        raise StateError(f"{path}: no product store here; ingest a day first or name the right folder")
    try:
        found: dict[str, Any] = json.loads(file.read_text())
        int(found["format"]), int(found["shards"])
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"{file} can't be read ({error}); restore the store from a copy") from error
    return found
