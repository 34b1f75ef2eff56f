"""A release: everything that the online service serves, in one folder that can be moved and copied.

    release.json                 fingerprint of the encoder, generations, score thresholds, limits, checksums
    canaries.json                requests with their expected answers, to probe servers with
    engine/                      an exported encoder
    indexes/PROFILE/             an index generation per profile: ids, vectors, weights

Engine and indexes belong to one encoder, so a query's vector can always be compared with those of an index.
"""

import json
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmprod.storage import locks
from mmprod.storage.errors import StateError

FILE, ENGINE, INDEXES = "release.json", "engine", "indexes"
MANIFEST = "manifest.json"
"""The artifact's manifest; readers of a release hold a shared lock on it."""
VARIABLE = "MMPROD_RELEASE"
"""Environment variable: the folder of the release to serve."""
ALL = "all"
"""The scope of a threshold that applies to all categories."""


@dataclass(frozen=True)
class Limits:
    """Limits of one request."""

    titles: int  # titles or pictures or pairs
    text_bytes: int  # of a title
    image_bytes: int  # of a picture's file
    image_pixels: int
    k: int  # products of a search


def scope_of(category: str, scopes: Container[str]) -> str | None:
    """The narrowest of `scopes` at or above a category, else ALL; None if neither exists."""
    levels = category.split(" > ")
    paths = (" > ".join(levels[:depth]) for depth in range(len(levels), 0, -1))
    return next((scope for scope in (*paths, ALL) if scope in scopes), None)


@dataclass(frozen=True)
class ServedProfile:
    """The index generation and the thresholds of a profile.

    `files`: the sha256 of the generation's files by name. `thresholds`, by category path or ALL: two products
    with at least this fused score are the same item; None if no score was precise enough.
    """

    generation: str
    files: Mapping[str, str]
    thresholds: Mapping[str, float | None]

    def threshold(self, *categories: str) -> float | None:
        """The strictest threshold of these categories: the highest, or None if one of them has None.

        The threshold of a category is that of the narrowest scope at or above it, else that of ALL.
        Categories without such a scope, as of a product whose category isn't known, are ignored.
        """
        thresholds = [
            self.thresholds[scope]
            for category in categories
            if (scope := scope_of(category, self.thresholds))
        ]
        precise = [threshold for threshold in thresholds if threshold is not None]
        return max(precise) if precise and len(precise) == len(thresholds) else None


@dataclass(frozen=True)
class Release:
    """The content of release.json; `path` is its folder."""

    path: Path
    encoder: str  # fingerprint, 64 hex digits
    precision: float  # for which the thresholds were chosen
    limits: Limits
    profiles: Mapping[str, ServedProfile]

    @classmethod
    def read(cls, path: Path) -> "Release":
        """Read a folder's release.json. Raises: StateError if it can't be read."""
        try:
            content = json.loads((path / FILE).read_bytes())
            profiles = {name: ServedProfile(**served) for name, served in content.pop("profiles").items()}
            return cls(path, limits=Limits(**content.pop("limits")), profiles=profiles, **content)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise StateError(f"{path / FILE} can't be read: {error}; run `mmprod release build`") from error

    def write(self) -> None:
        """Write release.json; the caller syncs it."""
        content: dict[str, Any] = asdict(self)
        del content["path"]
        (self.path / FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def hold(self) -> None:
        """Keep `mmprod release prune` from removing the folder while this process lives."""
        locks.hold(self.path / MANIFEST, shared=True)

    @property
    def engine(self) -> Path:
        """The folder of the exported encoder."""
        return self.path / ENGINE

    def index(self, profile: str) -> Path:
        """The folder of a profile's index generation."""
        return self.path / INDEXES / profile
