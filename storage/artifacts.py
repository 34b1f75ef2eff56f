"""Artifacts: immutable directories that are complete or absent, and a pointer to the one in use.

    root/g000001/  manifest.json + data files      a generation
    root/g000002/
    root/CURRENT                                   name of the generation in use, sha256 of its manifest

A generation is written under a temporary name, synced, and renamed into place. `CURRENT` is replaced
atomically, so a reader sees either the old generation or the new one. Readers hold a shared lock on the
manifest (`opened`); `prune` does not remove a generation that it can't lock.
"""

import contextlib
import importlib.metadata
import platform
import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmprod.storage import checked_json, fencing, locks
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.faults import fault
from mmprod.storage.files import make_folder, replace_file, sha256_file, sync_file, sync_tree

MANIFEST = "manifest.json"
CURRENT = "CURRENT"
_GO_BACK = "go back to a sound one: `mmprod index rollback`, or that of release or encoder"
_LIBRARIES = ("faiss-gpu", "lmdb", "numpy", "open-clip-torch", "pyarrow", "pylance", "torch")


@dataclass(frozen=True)
class Manifest:
    """The metadata of a generation.

    `inputs` holds the fingerprints or versions of its inputs, `config` the settings it was made with,
    `counts` the figures of the result; `files` maps each data file to its sha256. Generations with equal
    `inputs` and `config` are interchangeable.
    """

    kind: str
    inputs: dict[str, Any]
    config: dict[str, Any]
    counts: dict[str, Any]
    files: dict[str, str]
    created_at: str
    versions: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read and check a generation's manifest; StateError when it is missing or damaged."""
        return cls(**checked_json.load(folder / MANIFEST, cls))


class Reference(str):
    """Identifies a generation by its name and a mark, as in "g000003 5f1c…".

    The mark tells it from another generation of the same name. It is the sha256 of the manifest; in a survey
    it is the time at which the recall table was made. Manifests of derived artifacts store it as plain text.
    """

    @classmethod
    def of(cls, generation: str, mark: str) -> "Reference":
        return cls(f"{generation} {mark}")

    @property
    def generation(self) -> str:
        return self.partition(" ")[0]

    @property
    def mark(self) -> str:
        return self.partition(" ")[2]


@dataclass
class Draft:
    """A generation being written: put files into `path`, figures into `counts`.

    `reused` means that an equal generation exists already and nothing needs to be written.
    """

    path: Path
    counts: dict[str, Any] = field(default_factory=dict)
    generation: str = ""
    reused: bool = False


@contextlib.contextmanager
def publishing(root: Path, kind: str, inputs: dict[str, Any], config: dict[str, Any]) -> Iterator[Draft]:
    """Write a new generation below `root`; it appears when the block ends, or not at all if the block fails.

    `CURRENT` does not change: call `switch` once the new generation has passed its checks. The caller holds
    the lake's lock, so any older draft was left by a dead process and is removed.
    """
    make_folder(root)
    with fencing.publishing():
        for dead in root.glob(".draft-*"):
            shutil.rmtree(dead)
    draft = Draft(Path(tempfile.mkdtemp(prefix=".draft-", dir=root)))
    try:
        yield draft
        fault("artifact.written")
        draft.generation = _seal(root, draft, kind, inputs, config)
    except BaseException:
        shutil.rmtree(draft.path, ignore_errors=True)
        raise


def _seal(root: Path, draft: Draft, kind: str, inputs: dict[str, Any], config: dict[str, Any]) -> str:
    files = {str(p.relative_to(draft.path)): sha256_file(p) for p in _data_files(draft.path)}
    manifest = Manifest(
        kind,
        inputs,
        config,
        draft.counts,
        files,
        datetime.now(UTC).isoformat(timespec="seconds"),
        _versions(),
    )
    (draft.path / MANIFEST).write_text(checked_json.dump(asdict(manifest)))
    draft.path.chmod(0o755)
    sync_tree(draft.path)
    numbers = [int(name[1:]) for name in generations(root)]
    generation = f"g{max(numbers, default=0) + 1:06d}"
    draft.path.rename(root / generation)
    sync_file(root)
    return generation


def generations(root: Path) -> list[str]:
    """Names of the published generations, oldest first."""
    names = (path.name for path in root.glob("g*") if path.is_dir())
    return sorted(name for name in names if name[1:].isdigit())


def current(root: Path) -> str | None:
    """Name of the generation in use, None before the first one; StateError when the pointer is damaged."""
    try:
        text = (root / CURRENT).read_bytes().decode("latin-1")
    except FileNotFoundError:
        return None
    name = Reference(text).generation
    if not (root / name / MANIFEST).is_file() or text != f"{_reference(root, name)}\n":
        raise StateError(f"{root / CURRENT} holds {text!r}, which fits no generation; {_GO_BACK}")
    return name


def _reference(root: Path, name: str) -> Reference:
    return Reference.of(name, sha256_file(root / name / MANIFEST))


def reference(root: Path) -> Reference | None:
    """The current generation, for the `inputs` of artifacts made from it; None before the first."""
    name = current(root)
    return _reference(root, name) if name else None


def switch(root: Path, generation: str) -> None:
    """Make `generation` the one in use, atomically."""
    fault("artifact.published")
    if generation not in generations(root):
        raise InputError(f"{root}: no generation {generation!r}; there are {', '.join(generations(root))}")
    with fencing.publishing():
        replace_file(root / CURRENT, f"{_reference(root, generation)}\n")
    fault("artifact.switched")


def in_use(root: Path) -> str | None:
    """As `current`, but None instead of an error when the pointer is damaged."""
    try:
        return current(root)
    except StateError:
        return None


def rollback(root: Path, generation: str | None = None, leaving: str | None = None) -> str:
    """Switch to `generation`, by default to the newest sound one older than the current; return its name.

    The target is verified first. A generation that its gate refused is used only when named explicitly. When
    the pointer is damaged, the default is the newest sound generation of all. `leaving`: the generation that
    the caller believes to be in use. Raises: StateError when another one is in use by now, because somebody
    else has switched meanwhile; InputError when there is no generation to go back to.
    """
    names = generations(root)
    now = in_use(root)
    if leaving is not None and now != leaving:
        raise StateError(
            f"{root}: {now} is in use, no longer {leaving}: somebody else has switched meanwhile. Nothing "
            "was changed; look at the generation in use, and repeat the rollback if it is still wanted"
        )
    if generation is None:
        older = (name for name in reversed(names) if now is None or name < now)
        generation = next((n for n in older if not verify(root / n) and not refused(root / n)), None)
        if generation is None:
            older_than = f"older than {now} " if now else ""
            raise InputError(f"{root}: nothing {older_than}to go back to")
    elif generation in names and (problems := verify(root / generation)):
        raise StateError(f"{root / generation} can't be used: {'; '.join(problems)}")
    switch(root, generation)
    return generation


def refused(folder: Path) -> list[dict[str, Any]]:
    """The gate checks that a generation failed; empty when it passed or has no gate."""
    checks = Manifest.read(folder).counts.get("gate", {}).get("checks", [])
    return [check for check in checks if not check.get("ok", True)]


@dataclass(frozen=True)
class Opened:
    """A generation held for reading: `prune` does not remove it while the `opened` block lasts."""

    path: Path
    manifest: Manifest

    @property
    def generation(self) -> str:
        return self.path.name


@contextlib.contextmanager
def opened(root: Path, generation: str | None = None, *, checked: bool = True) -> Iterator[Opened]:
    """Hold the current (or the named) generation for reading; `checked`: verify every file's sha256 first.

    Raises: StateError when there is no such generation, or when a file is damaged.
    """
    name = generation or current(root)
    if name is None:
        raise StateError(f"nothing published in {root} yet; run `mmprod run` first")
    folder = root / name
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.held(folder / MANIFEST, shared=True))
        except FileNotFoundError:
            raise StateError(f"{folder} is not there; there are {', '.join(generations(root))}") from None
        if checked and (problems := verify(folder)):
            raise StateError(f"{folder} is damaged: {'; '.join(problems)}; build it again, or {_GO_BACK}")
        yield Opened(folder, Manifest.read(folder))


def newest(root: Path) -> str | None:
    """The latest generation, in use or not; None before the first one."""
    return max(generations(root), default=None)


def reusable(root: Path, inputs: dict[str, Any], config: dict[str, Any]) -> str | None:
    """Name of a sound generation with the same `inputs` and `config`, which is then in use; else None.

    The generation in use is tried first, then the latest: a process that died between publishing and
    switching may have left it, so it is switched to.
    """
    for name in dict.fromkeys((current(root), newest(root))):
        if name and matches(root / name, inputs, config):
            if name != current(root):
                switch(root, name)
            return name
    return None


def matches(
    folder: Path, inputs: dict[str, Any], config: dict[str, Any], aside: Collection[str] = ()
) -> bool:
    """Whether a generation has these `inputs`, apart from those in `aside`, and this `config`, undamaged."""
    try:
        manifest = Manifest.read(folder)
    except StateError:
        return False
    if manifest.inputs.keys() != inputs.keys() or manifest.config != config:
        return False
    same = all(manifest.inputs[name] == inputs[name] for name in inputs if name not in aside)
    return same and not verify(folder)


def verify(folder: Path) -> list[str]:
    """Problems of a generation, in words: missing, damaged or unlisted files. Empty when it is sound."""
    try:
        files = Manifest.read(folder).files
    except StateError as error:
        return [str(error)]
    found = {str(path.relative_to(folder)): path for path in _data_files(folder)}
    problems = [f"{name} is missing" for name in files if name not in found]
    problems += [f"{name} is not in the manifest" for name in found if name not in files]
    for name, path in found.items():
        if name in files and (digest := sha256_file(path)) != files[name]:
            problems.append(f"{name} has sha256 {digest}, manifest says {files[name]}")
    return problems


def prune(root: Path, keep: int) -> list[str]:
    """Remove generations older than the newest `keep` and return their names.

    The current generation and those being read are never removed.
    """
    now = current(root)
    removed = []
    for name in generations(root)[: -keep or None]:
        if name != now and _remove_unread(root / name):
            removed.append(name)
    return removed


def _remove_unread(folder: Path) -> bool:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.held(folder / MANIFEST, wait=False))
        except BlockingIOError:
            return False
        doomed = folder.rename(folder.with_name(f".draft-{folder.name}"))  # atomic for readers
        shutil.rmtree(doomed)
    return True


def _data_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "mmprod": importlib.metadata.version("mmprod")}
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
