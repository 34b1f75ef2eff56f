"""Everything that is published in generations: listing, describing, verifying and pruning, by kind."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mmprod.lake import LAKE_ENCODER, Lake
from mmprod.sections import Config
from mmprod.stages.outcome import Advance, Progress, no_progress
from mmprod.storage import artifacts
from mmprod.storage.errors import InputError, StateError

_ROWS = ("products", "pairs", "anchors", "rows", "judgements")  # counts that may hold an artifact's size; the
# first present is used


@dataclass(frozen=True)
class Kind:
    """A kind of artifact and the folder of its generations.

    With `by`, e.g. "profile", there is one folder for each profile, and `folder` takes the profile's name.
    """

    name: str
    folder: Callable[[Lake, str], Path]
    by: str = ""

    def roots(self, lake: Lake, only: str | None = None) -> dict[str, Path]:
        """The existing folders by name, or only that of `only`; the name is "" for a kind without `by`.

        Raises: InputError if there is no folder of that name.
        """
        if not self.by:
            return {"": root} if (root := self.folder(lake, "")).is_dir() else {}
        folders = sorted(path for path in self.folder(lake, "*").parent.glob("*") if path.is_dir())
        found = {path.name: path for path in folders}
        if only is None:
            return found
        if only not in found:
            raise InputError(f"no {self.name} of {self.by} {only!r}; there are {', '.join(found) or 'none'}")
        return {only: found[only]}


_KINDS = (
    Kind("index", Lake.index, "profile"),
    Kind("recall", Lake.recall, "profile"),
    Kind("groups", lambda lake, _: lake.groups),
    Kind("features", lambda lake, _: lake.features),
    Kind("release", lambda lake, _: lake.releases),
    Kind("encoder", Lake.encoder, "name"),
)
KINDS = {kind.name: kind for kind in _KINDS}


@dataclass(frozen=True)
class Listed:
    """A summary of a generation; `of` says whose it is, e.g. {"profile": "same_item"}."""

    of: Mapping[str, str]
    generation: str
    made: datetime | None  # from the manifest; None if that is damaged
    rows: int | None
    encoder: str  # fingerprint; "" if the kind has none
    in_use: bool
    refused: Sequence[str]  # checks of its gate that failed
    problem: str = ""  # why its manifest can't be read

    @property
    def standing(self) -> str:
        """Its state as text: "in use", "refused: similarity", both, or empty."""
        refused = f"refused: {', '.join(self.refused)}" if self.refused else ""
        return "; ".join(filter(None, ("in use" if self.in_use else "", refused, self.problem)))

    def to_dict(self) -> dict[str, Any]:
        made = self.made and self.made.isoformat()
        others = {name: value for name, value in vars(self).items() if name not in ("of", "problem")}
        return {**self.of, **others, "made": made, **({"problem": self.problem} if self.problem else {})}


def listed(lake: Lake, kind: Kind, only: str | None = None) -> list[Listed]:
    """Every generation of a kind, or of one profile, oldest first. Raises: InputError as `Kind.roots`."""
    roots = kind.roots(lake, only)
    return [
        _listed(kind, name, root / generation)
        for name, root in roots.items()
        for generation in artifacts.generations(root)
    ]


def encoders(lake: Lake, config: Config) -> list[Listed]:
    """Every generation of every encoder of the lake; only the configured encoder's counts as in use."""
    return [
        replace(one, in_use=one.in_use and config.encoder.model == LAKE_ENCODER + one.of["name"])
        for one in listed(lake, KINDS["encoder"])
    ]


def _listed(kind: Kind, name: str, folder: Path) -> Listed:
    of, in_use = {kind.by: name} if kind.by else {}, artifacts.in_use(folder.parent) == folder.name
    try:
        manifest = artifacts.Manifest.read(folder)
    except StateError as error:
        return Listed(of, folder.name, None, None, "", in_use, (), str(error))
    made = datetime.fromisoformat(manifest.created_at)
    refused = [check["name"] for check in artifacts.refused(folder)]
    return Listed(of, folder.name, made, rows_of(manifest), encoder_of(manifest), in_use, refused)


def rows_of(manifest: artifacts.Manifest) -> int | None:
    """The number of rows of an artifact; which count that is depends on its kind."""
    return next((manifest.counts[key] for key in _ROWS if key in manifest.counts), None)


def encoder_of(manifest: artifacts.Manifest) -> str:
    """The fingerprint of the encoder that made an artifact, or that it is; "" if none."""
    return str(manifest.inputs.get("encoder") or manifest.counts.get("fingerprint") or "")


def described(
    lake: Lake, kind: Kind, generation: str | None = None, only: str | None = None
) -> list[dict[str, Any]]:
    """Details of a generation of each profile, or of `only`: as `listed`, with its manifest's sections.

    The sections are `inputs`, `config` and `counts`. `generation` defaults to the one in use, else the
    latest. Raises: InputError for an unknown generation; StateError if there is none yet.
    """
    found = []
    for name, root in kind.roots(lake, only).items():
        if which := generation or artifacts.in_use(root) or artifacts.newest(root):
            if which not in (names := artifacts.generations(root)):
                raise InputError(f"{root}: no generation {which!r}; there are {', '.join(names)}")
            manifest = artifacts.Manifest.read(root / which)
            size = sum(path.stat().st_size for path in (root / which).rglob("*") if path.is_file())
            sections = {"inputs": manifest.inputs, "config": manifest.config, "counts": manifest.counts}
            found.append({**_listed(kind, name, root / which).to_dict(), "bytes": size, **sections})
    if not found:
        raise StateError(f"there is no {kind.name} in {lake.root} yet: run `mmprod {kind.name} build`")
    return found


def damage(lake: Lake, kind: Kind, only: str | None = None, progress: Progress = no_progress) -> list[str]:
    """Every difference between the generations of a kind and what was published; empty if there is none."""
    roots = kind.roots(lake, only).values()
    advance = progress("verify", sum(len(artifacts.generations(root)) for root in roots))
    return [problem for root in roots for problem in damage_of(lake, root, advance)]


def damage_of(lake: Lake, root: Path, advance: Advance) -> list[str]:
    """As `damage`, for the generations below one folder and its pointer to the one in use."""
    problems = []
    try:
        artifacts.current(root)
    except StateError as error:
        problems.append(str(error))
    for name in artifacts.generations(root):
        problems += [f"{place(lake, root)}/{name}: {problem}" for problem in artifacts.verify(root / name)]
        advance(1)
    return problems


def prune_generations(lake: Lake, kind: Kind, keep: int, only: str | None = None) -> list[str]:
    """Remove generations older than the newest `keep` that nobody reads; returns the removed ones."""
    return [removed for root in kind.roots(lake, only).values() for removed in prune_below(lake, root, keep)]


def prune_below(lake: Lake, root: Path, keep: int) -> list[str]:
    """As `prune_generations`, for the generations below one folder."""
    return [f"{place(lake, root)}/{name}" for name in artifacts.prune(root, keep)]


def place(lake: Lake, root: Path) -> str:
    """The path of a folder within the lake, e.g. "indexes/same_item"."""
    return str(root.relative_to(lake.root))
