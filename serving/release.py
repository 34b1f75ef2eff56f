"""A release: everything that the online service serves, in one folder that can be moved and copied whole.

    release.json                 fingerprint of the encoder, generations, score thresholds, limits, checksums
    engine/                      an exported encoder
    indexes/PROFILE/             an index generation for each profile: ids, vectors, weights

Engine and indexes are of one encoder: what a query is encoded with always fits what it is compared with.
"""

import fcntl
import json
import os
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmprod.storage.errors import StateError

FILE, ENGINE, INDEXES = "release.json", "engine", "indexes"
MANIFEST = "manifest.json"
"""That of the artifact; who reads a generation holds a shared lock on it."""
VARIABLE = "MMPROD_RELEASE"
"""Environment variable: the folder of the release to serve."""
ALL = "all"
"""The scope of thresholds that hold for products of every category."""


@dataclass(frozen=True)
class Limits:
    """What one request may ask for."""

    titles: int  # titles or pictures or pairs at once
    text_bytes: int  # of a title
    image_bytes: int  # of a picture as it comes
    image_pixels: int
    k: int


def scope_of(category: str, scopes: Container[str]) -> str | None:
    """The narrowest of `scopes` at or above a category, else ALL; None where neither is there."""
    levels = category.split(" > ")
    paths = (" > ".join(levels[:depth]) for depth in range(len(levels), 0, -1))
    return next((scope for scope in (*paths, ALL) if scope in scopes), None)


@dataclass(frozen=True)
class Served:
    """The index generation that a profile is served from, and when two products count as the same item.

    `files` are the sha256 of its files by name. `thresholds`: by category path, or ALL, the fused score from
    which on a pair is the same item; None where no score was precise enough.
    """

    generation: str
    files: Mapping[str, str]
    thresholds: Mapping[str, float | None]

    def threshold(self, *categories: str) -> float | None:
        """The strictest for products of these categories: the highest, None where one of them has none.

        A category goes by the narrowest scope at or above it that is there, else by ALL; one without any
        such scope, as of a product whose category isn't known, has no say.
        """
        found = [
            self.thresholds[scope]
            for category in categories
            if (scope := scope_of(category, self.thresholds))
        ]
        limits = [limit for limit in found if limit is not None]
        return max(limits) if limits and len(limits) == len(found) else None


@dataclass(frozen=True)
class Release:
    """release.json; `path` is the folder it was read from."""

    path: Path
    encoder: str  # fingerprint, 64 hex digits
    precision: float  # that the thresholds were chosen for
    limits: Limits
    profiles: Mapping[str, Served]

    @classmethod
    def read(cls, path: Path) -> "Release":
        """Read a release's description. Raises: StateError when it can't be."""
        try:
            content = json.loads((path / FILE).read_bytes())
            profiles = {name: Served(**served) for name, served in content.pop("profiles").items()}
            return cls(path, limits=Limits(**content.pop("limits")), profiles=profiles, **content)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise StateError(f"{path / FILE} can't be read: {error}; run `mmprod release`") from error

    def write(self) -> None:
        """Write release.json; syncing is the caller's."""
        content: dict[str, Any] = asdict(self)
        del content["path"]
        (self.path / FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def hold(self) -> None:
        """Keep `mmprod prune` away from the folder for as long as this process lives."""
        held = os.open(self.path / MANIFEST, os.O_RDONLY)  # never closed
        fcntl.flock(held, fcntl.LOCK_SH)

    @property
    def engine(self) -> Path:
        """The folder of the exported encoder."""
        return self.path / ENGINE

    def index(self, profile: str) -> Path:
        """The folder of a profile's index generation."""
        return self.path / INDEXES / profile
