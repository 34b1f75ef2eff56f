"""A store with another number of shards: every product moves to the shard that its id now belongs to.

Products get new sequence numbers, those of the first old shard first; within an old shard their order stays.
So positions of consumers are of another numbering (`layout.Numbering`). What the latest days overwrote
(`undo`) is left behind, so days before can't be undone; so are pictures that no product uses.
"""

import heapq
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson

from mmprod.datasets.identity import EMPTY, shard_of
from mmprod.datasets.store import undo
from mmprod.datasets.store.checked_values import none_missing, unseal
from mmprod.datasets.store.copies import copy_bytes
from mmprod.datasets.store.differences import differences
from mmprod.datasets.store.layout import Numbering, Position, write_layout
from mmprod.datasets.store.numbers import Numbers, put_all, renumber
from mmprod.datasets.store.shard import Shard
from mmprod.datasets.store.state import NEVER, State, pack, unpack
from mmprod.datasets.store.store import Store
from mmprod.datasets.store.view import SEQUENCES, Slice, View
from mmprod.storage import locks
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import make_folder, sync_file, sync_tree
from mmprod.storage.room import require

MERGED = 20_000
"""Products merged at once, without their pictures."""

WRITTEN = 1_000
"""Products written in one transaction, with their pictures."""

Progress = Callable[[int], None]


def reshard(path: Path, target: Path, shards: int, on_progress: Progress | None = None) -> int:
    """Write the store at `path` to the new folder `target` with `shards` shards; returns its products.

    The copy is complete, synced and compared with the original product by product before `target` appears;
    `path` is left as it is. `on_progress` is called with numbers of products: each is counted when it is
    written, and again when it is compared.
    Raises: InputError when `target` exists, or the store has `shards` shards; StateError when the store is
    damaged or half undone, another process writes to it, or the disk has too little space.
    """
    if target.exists():
        raise InputError(f"{target} exists; remove it or name another folder")
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    tell = on_progress or (lambda count: None)
    with ExitStack() as stack:
        old = stack.enter_context(Store.open(path, read_only=True))
        stack.callback(os.close, _hold(path))
        _check(old, shards)
        require("a store with other shards", copy_bytes(old.shards), target.parent)
        stack.callback(shutil.rmtree, aside, ignore_errors=True)
        make_folder(aside)
        since = _copy(old, aside, shards, tell)
        before = old.head(), old.field_head()
        write_layout(aside, shards, Numbering(old.numbering.number + 1, before, since))
        with Store.open(aside, read_only=True) as new:
            if found := list(islice(differences(old, new, tell), 5)):
                raise StateError(f"{path} could not be resharded: {'; '.join(found)}")
        sync_tree(aside)
        aside.rename(target)
    sync_file(target.parent)
    return sum(since[0])


def _hold(path: Path) -> int:
    try:
        return locks.hold_as_writer(path / "LOCK")
    except locks.HeldError as error:
        raise StateError(f"{path}: another run is writing (pid {error.holder}); wait for it") from error


def _check(old: Store, shards: int) -> None:
    if shards < 1 or shards == len(old.shards):
        raise InputError(f"{old.path} has {len(old.shards)} shards, {shards} are wanted: nothing to do")
    if day := undo.half_undone(old.shards):
        raise StateError(
            f"{old.path}: {day} is undone in part; before you reshard, finish that (`mmprod store undo-day "
            f"--day {day}`), or ingest the day again"
        )


def _copy(old: Store, aside: Path, shards: int, tell: Progress) -> tuple[Position, Position]:
    """Write the new shards; returns their heads: of `sequence` and of `field_sequence`."""
    scratch = aside / "numbers"
    scratch.mkdir()
    with ExitStack() as stack:
        folders = [aside / f"shard-{number:03d}" for number in range(shards)]
        new = [stack.enter_context(closing(Shard(folder, False))) for folder in folders]
        numbers = {name: renumber(old, new, name, scratch) for name in SEQUENCES}
        full_day = min(shard.read(lambda view: view.full_day) for shard in old.shards)
        live, merged = [0] * shards, _merged(old)
        while some := list(islice(merged, MERGED)):
            for home, products in enumerate(_split(_completed(old, some, numbers), shards)):
                for start in range(0, len(products), WRITTEN):
                    live[home] += _write(old, new[home], products[start : start + WRITTEN], full_day)
            tell(len(some))
        _copy_notes(old, new, full_day, live)
        _copy_changes(old, new)
        heads = [tuple(each.read(partial(View.head, sequence=name)) for each in new) for name in SEQUENCES]
    shutil.rmtree(scratch)
    return heads[0], heads[1]


class _Product(NamedTuple):
    key: bytes
    shard: int  # the old one
    state: State
    record: bytes = b""  # sealed


def _merged(old: Store) -> Iterator[_Product]:
    """The states of all products in order of key."""
    count = max(100, MERGED // len(old.shards))

    def of(number: int, shard: Shard) -> Iterator[_Product]:
        for entries, full_day in shard.chunks("states", count=count):
            for key, value in entries:
                yield _Product(key, number, unpack(key, value, full_day))

    yield from heapq.merge(*(of(number, shard) for number, shard in enumerate(old.shards)))


def _completed(
    old: Store, products: Sequence[_Product], numbers: Mapping[str, Sequence[Numbers]]
) -> list[_Product]:
    """Products, in order of key, with their new numbers and their records."""
    by_shard: dict[int, list[_Product]] = {}
    for product in products:
        by_shard.setdefault(product.shard, []).append(product)
    found: list[_Product] = []
    for number, mine in by_shard.items():
        shard = old.shards[number]
        known = [product.key for product in mine if product.state.known]
        records = none_missing(shard.folder, "records", known, shard.raw("records", known))
        moved = [numbers[name][number].of([getattr(p.state, name) for p in mine]) for name in SEQUENCES]
        for (key, _, state, _), *pair in zip(mine, *moved, strict=True):
            found.append(_Product(key, number, State(*state[:-2], *pair), records.get(key, b"")))
    return sorted(found)


def _split(products: Sequence[_Product], shards: int) -> list[list[_Product]]:
    """Products by new shard."""
    found: list[list[_Product]] = [[] for _ in range(shards)]
    for product in products:
        found[shard_of(product.key, shards)].append(product)
    return found


def _write(old: Store, new: Shard, products: Sequence[_Product], full_day: int) -> int:
    """Write products, which come in order of key, with their pictures; returns how many are live."""
    pictures = _pictures(old, new, products)
    records = [(product.key, product.record) for product in products if product.record]
    states = [(product.key, pack(product.key, product.state, full_day)) for product in products]

    def work(view: View) -> None:
        view.put("pictures", pictures)
        view.put("records", records, behind=True)
        view.put("states", states, behind=True)

    new.transact(work)
    return sum(product.state.live for product in products)


def _pictures(old: Store, new: Shard, products: Sequence[_Product]) -> Slice:
    """The pictures of products that the new shard lacks, sealed."""
    wanted = {product.state.content.image_hash: product.shard for product in products}
    wanted.pop(EMPTY, None)
    there = new.read(lambda view: view.present("pictures", sorted(wanted)))
    found: dict[bytes, bytes] = {}
    for number in {wanted[key] for key in wanted.keys() - there}:
        shard = old.shards[number]
        missing = sorted(key for key, home in wanted.items() if home == number and key not in there)
        found |= none_missing(shard.folder, "pictures", missing, shard.raw("pictures", missing))
    return sorted(found.items())


def _copy_notes(old: Store, new: Sequence[Shard], full_day: int, live: Sequence[int]) -> None:
    """Write each shard's latest full day, number of live products, and the days, as `Store.days` has them."""
    for days, _ in old.shards[-1].chunks("meta", b"day:", b"day:"):
        put_all(new, "meta", [days] * len(new))

    def work(view: View, count: int) -> None:
        view.set_note("full_day", None if full_day == NEVER else full_day)
        view.set_note("live", count)

    for shard, count in zip(new, live, strict=True):
        shard.transact(partial(work, count=count))


def _copy_changes(old: Store, new: Sequence[Shard]) -> None:
    """Copy the changes that are not published yet.

    The new logs of a day have the name of one of its old logs: if those were published, that is still known.
    """
    names: dict[bytes, bytes] = {}
    for shard in old.shards:
        for entries, _ in shard.chunks("changes"):
            moved: list[dict[bytes, bytes]] = [{} for _ in new]
            for key, value in entries:
                day = key[:4]
                if key == day:
                    names.setdefault(day, value)
                else:
                    moved[_home_of_change(key, value, len(new))] |= {key: value, day: names[day]}
            put_all(new, "changes", [sorted(each.items()) for each in moved])
    put_all(new[:1], "changes", [sorted(names.items())])  # also of logs that are being forgotten


def _home_of_change(key: bytes, value: bytes, shards: int) -> int:
    product_id, _, _, source = orjson.loads(unseal("changes", key, value))
    return shard_of((product_id or source).encode(errors="replace"), shards)
