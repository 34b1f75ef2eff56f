"""Verification of a shard: every byte is read, every hash computed again."""

from collections import Counter
from collections.abc import Callable, Iterator

import lmdb

from mmprod.datasets.identity import EMPTY, content_hash
from mmprod.datasets.store.checked_values import key_text, unseal
from mmprod.datasets.store.record import parts
from mmprod.datasets.store.shard import Shard
from mmprod.datasets.store.state import State, unpack
from mmprod.datasets.store.view import SEQUENCES, Slice
from mmprod.storage.errors import StateError

Progress = Callable[[int], None]


def damages(shard: Shard, on_entries: Progress) -> Iterator[str]:
    """Damage found in a shard, in words. `on_entries` is called with the number of entries of each chunk.

    Checks: checksums; hashes against titles, fields and pictures; states against records, pictures, the
    sequence and the number of live products.
    """
    try:
        yield from _pictures(shard, on_entries)
        yield from _products(shard, on_entries)
        for name in SEQUENCES:
            yield from _sequence(shard, name, on_entries)
        yield from _changes(shard, on_entries)
    except (lmdb.Error, StateError) as error:
        yield f"reading stopped: {error}"


def _pictures(shard: Shard, on_entries: Progress) -> Iterator[str]:
    for entries, _ in shard.chunks("pictures"):
        for key, value in entries:
            try:
                found = content_hash(unseal("pictures", key, value))
            except StateError as error:
                yield str(error)
                continue
            if found != key:
                yield f"pictures[{key.hex()}] holds the picture {found.hex()}"
        on_entries(len(entries))


def _products(shard: Shard, on_entries: Progress) -> Iterator[str]:
    live = 0
    numbered = Counter[str]()
    for entries, full_day in shard.chunks("states"):
        states: dict[bytes, State] = {}
        for key, value in entries:
            try:
                states[key] = unpack(key, value, full_day)
            except StateError as error:
                yield str(error)
        yield from _against_records(shard, {key: state for key, state in states.items() if state.known})
        numbered.update(name for name in SEQUENCES for state in states.values() if getattr(state, name))
        live += sum(state.live for state in states.values())
        on_entries(len(entries))
    noted = shard.read(lambda view: view.live)
    listed = shard.read(lambda view: Counter({name: view.stat(name)["entries"] for name in SEQUENCES}))
    if live != noted or numbered != listed:
        yield (
            f"{live} of {numbered['sequence']} products are live, recorded are {noted} of "
            f"{listed['sequence']}; {numbered['field_sequence']} have numbered fields, recorded are "
            f"{listed['field_sequence']}"
        )


def _against_records(shard: Shard, states: dict[bytes, State]) -> Iterator[str]:
    records = shard.raw("records", states)
    pictures = {state.content.image_hash for state in states.values()} - {EMPTY}
    there = shard.read(lambda view: view.present("pictures", sorted(pictures)))
    for key, state in states.items():
        if state.content.image_hash not in there | {EMPTY}:
            yield f"{key_text(key)}: its picture {state.content.image_hash.hex()} is missing"
        if key not in records:
            yield f"{key_text(key)}: its record is missing"
            continue
        try:
            title, _, fields = parts(unseal("records", key, records[key]))
        except StateError as error:
            yield str(error)
            continue
        if (content_hash(title.encode()), content_hash(fields)) != state.content[1:3]:
            yield f"{key_text(key)}: its record does not match the hashes in its state"


def _sequence(shard: Shard, name: str, on_entries: Progress) -> Iterator[str]:
    for entries, _ in shard.chunks(name):
        states = _readable(shard, entries)
        for number, key in entries:
            noted = getattr(states[key], name) if key in states else None
            if noted is None:
                yield f"{name}[{number.hex()}] names {key_text(key)}, which has no readable state"
            elif noted != int.from_bytes(number, "big"):
                yield f"{name}[{number.hex()}]: {key_text(key)}, whose state says {noted}"
        on_entries(len(entries))


def _changes(shard: Shard, on_entries: Progress) -> Iterator[str]:
    """Check the entries of `changes` and `undo`."""
    for database in ("changes", "undo"):
        for entries, _ in shard.chunks(database):
            for key, value in entries:
                try:
                    unseal(database, key, value)
                except StateError as error:
                    yield str(error)
            on_entries(len(entries))


def _readable(shard: Shard, entries: Slice) -> dict[bytes, State]:
    """States of the products in a slice of the sequence, without the damaged ones."""
    found = {}
    for key, value in shard.raw("states", sorted(key for _, key in entries)).items():
        try:
            found[key] = unpack(key, value, 0)
        except StateError:
            continue  # reported with the states
    return found
