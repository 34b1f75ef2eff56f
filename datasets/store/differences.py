"""Comparison of two stores of one content, which may have different numbers of shards."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from mmprod.datasets.identity import shard_of
from mmprod.datasets.store.checked_values import key_text
from mmprod.datasets.store.state import State
from mmprod.datasets.store.store import Store
from mmprod.datasets.store.view import SEQUENCES, View

Progress = Callable[[int], None]
_AT_ONCE = 1_000  # products


def differences(old: Store, new: Store, on_products: Progress) -> Iterator[str]:
    """How the content of `new` differs from that of `old`, and damage of `new`, in words.

    Compared are all products, the days and the unpublished changes; not the sequence numbers, and not what
    could be undone. `on_products` is called with the number of products of each batch.
    """
    yield from new.verify()
    for home, shard in enumerate(new.shards):
        for entries, _ in shard.chunks("states", count=_AT_ONCE):
            keys = [key for key, _ in entries]
            found, wanted = _facts(new, {home: keys}), _facts(old, _by_shard(keys, len(old.shards)))
            yield from (f"{key_text(key)} differs" for key in keys if found[key] != wanted.get(key))
            on_products(len(keys))
    for (name, before), (_, after) in zip(_totals(old), _totals(new), strict=True):
        if before != after:
            yield f"{name}: {before} became {after}"


def _by_shard(keys: Sequence[bytes], shards: int) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    for key in keys:
        found.setdefault(shard_of(key, shards), []).append(key)
    return found


def _facts(store: Store, keys: Mapping[int, list[bytes]]) -> dict[bytes, tuple[State, bytes]]:
    """The states of products without their numbers, and their records, sealed; `keys` by shard."""
    found = {}
    for number, mine in keys.items():
        states, records = store.shards[number].states(mine), store.shards[number].raw("records", mine)
        for key, state in states.items():
            found[key] = State(*state[:-2]), records.get(key, b"")
    return found


def _totals(store: Store) -> Iterator[tuple[str, object]]:
    """What both stores have in common besides their products."""
    yield "hash of all products", store.state_hash()
    yield "days", store.days()
    for name in ("states", "records", *SEQUENCES):
        yield f"entries of {name}", sum(shard.read(partial(_entries, name=name)) for shard in store.shards)
    rows = (key for shard in store.shards for found, _ in shard.chunks("changes") for key, _ in found)
    yield "changes", sum(len(key) > 4 for key in rows)


def _entries(view: View, name: str) -> int:
    return view.stat(name)["entries"]
