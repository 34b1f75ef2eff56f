"""A lake held open for many queries: its product store, indexes and encoders.

Each is opened at the first query that needs it and kept open. When another generation of an index comes into
use (`CURRENT` changes), the next query opens that one.
"""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from mmprod.datasets.store.store import Store
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.export.spec import Tower
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.daily.groups import read_groups
from mmprod.stages.encoder import load_query_encoder
from mmprod.stages.open_index import open_index
from mmprod.stages.search.similarity import load_comparing_encoder
from mmprod.stages.store import open_store
from mmprod.storage import artifacts
from mmprod.storage.artifacts import Reference

if TYPE_CHECKING:
    from mmprod.retrieval.generation import Generation


@dataclass
class _Index:
    """An open generation; while `held` is open, `mmprod index prune` can't remove its folder."""

    reference: Reference
    generation: "Generation"
    held: ExitStack


class Reader:
    """Opens parts of a lake on demand and caches them. A context manager; thread-safe."""

    def __init__(self, lake: Lake, config: Config) -> None:
        self.lake, self.config = lake, config
        self._lock = threading.RLock()
        self._store: tuple[tuple[int, int], Store] | None = None
        self._indexes: dict[str, _Index] = {}
        self._encoders: dict[tuple[str, frozenset[Tower]], Encoder] = {}
        self._comparing: tuple[str | None, Encoder] | None = None
        self._groups: tuple[Reference | None, pa.Table] | None = None

    def close(self) -> None:
        """Close everything that is open."""
        with self._lock:
            for index in self._indexes.values():
                index.held.close()
            self._indexes.clear()
            self._encoders.clear()
            self._comparing = None
            if self._store:
                self._store[1].close()
            self._store = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @property
    def store(self) -> Store:
        """The product store, read-only. Raises: StateError if there is none."""
        with self._lock:
            folder = self.lake.store.stat() if self.lake.store.exists() else None
            now = (folder.st_dev, folder.st_ino) if folder else (0, 0)
            if self._store is None or self._store[0] != now:  # `store compact` replaces the folder
                if self._store:
                    self._store[1].close()
                self._store = now, open_store(self.lake, self.config, read_only=True)
            return self._store[1]

    def index(self, profile: str) -> "Generation":
        """The index generation of a profile that is in use now; its files are verified when it is opened.

        Raises: InputError for an unknown profile; StateError if its index is missing or damaged.
        """
        self.config.profile(profile)
        root = self.lake.index(profile)
        with self._lock:
            known, now = self._indexes.get(profile), artifacts.reference(root)
            if known and known.reference == now:
                return known.generation
            held = ExitStack()
            generation = held.enter_context(open_index(self.lake, profile, now and now.generation))
            self._indexes[profile] = _Index(now or Reference(), generation, held)
            if known:
                known.held.close()
            return generation

    def encoder(self, fingerprint: str, towers: Sequence[Tower]) -> Encoder:
        """The encoder with this fingerprint; its exported engine if there is one.

        Raises: InputError or StateError if the encoder no longer exists.
        """
        key = fingerprint, frozenset(towers)
        with self._lock:
            if key not in self._encoders:
                self._encoders[key] = load_query_encoder(self.lake, self.config, fingerprint, towers)
            return self._encoders[key]

    def comparing_encoder(self) -> Encoder:
        """The configured encoder, for comparing two products directly; see `load_comparing_encoder`."""
        with self._lock:
            now = self.lake.encoder_fingerprint(self.config.encoder.model)
            if self._comparing is None or self._comparing[0] != now:
                self._comparing = now, load_comparing_encoder(self.lake, self.config)
            return self._comparing[1]

    def groups(self) -> pa.Table:
        """Which products are the same item, schema GROUP; empty if groups were never built."""
        with self._lock:
            now = artifacts.reference(self.lake.groups)
            if self._groups is None or self._groups[0] != now:
                self._groups = now, read_groups(self.lake)
            return self._groups[1]
