"""Artifacts: immutable directories that are complete or absent, and a pointer to the one in use.

    root/g000001/  manifest.json + data files      a generation
    root/g000002/
    root/CURRENT                                   name of the generation in use, sha256 of its manifest

A generation is written under a temporary name, synced, and renamed into place; `CURRENT` is replaced in
one step, so a reader sees the old generation or the new one. Readers hold a shared lock on the manifest
(`opened`), and `prune` leaves alone what it can't lock.
"""

import contextlib
import fcntl
import importlib.metadata
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmprod.storage import checked_json, fencing
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.faults import fault
from mmprod.storage.files import make_folder, replace_file, sha256_file, sync_file, sync_tree

MANIFEST = "manifest.json"
CURRENT = "CURRENT"
_LIBRARIES = ("faiss-gpu", "lmdb", "numpy", "open-clip-torch", "pyarrow", "pylance", "torch")


@dataclass(frozen=True)
class Manifest:
    """What a generation is made from and consists of.

    `inputs` names what went in by fingerprint or version, `config` how it was made, `counts` what came
    out; `files` maps each data file to its sha256. Equal `inputs` and `config` mean an equal generation.
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


@dataclass
class Draft:
    """A generation being written: put files into `path`, figures into `counts`."""

    path: Path
    counts: dict[str, Any] = field(default_factory=dict)
    generation: str = ""


@contextlib.contextmanager
def publishing(root: Path, kind: str, inputs: dict[str, Any], config: dict[str, Any]) -> Iterator[Draft]:
    """Write a new generation below `root`; it appears whole when the block ends, and not at all if it fails.

    `CURRENT` is left alone: call `switch` once the new generation has passed its checks. The caller holds
    the lake's lock, so drafts found here are those of dead processes and are removed.
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
    name = text.partition(" ")[0]
    if not (root / name / MANIFEST).is_file() or text != _pointer(root, name):
        raise StateError(f"{root / CURRENT} holds {text!r}, which fits no generation; run `mmprod rollback`")
    return name


def _pointer(root: Path, name: str) -> str:
    return f"{name} {sha256_file(root / name / MANIFEST)}\n"


def reference(root: Path) -> str | None:
    """The current generation by name and manifest, as an input of what is made from it; None before one."""
    name = current(root)
    return name and _pointer(root, name).strip()


def switch(root: Path, generation: str) -> None:
    """Make `generation` the one in use, in one step."""
    fault("artifact.published")
    if generation not in generations(root):
        raise InputError(f"{root}: no generation {generation!r}; there are {', '.join(generations(root))}")
    with fencing.publishing():
        replace_file(root / CURRENT, _pointer(root, generation))
    fault("artifact.switched")


def in_use(root: Path) -> str | None:
    """As `current`; None also where the pointer is damaged."""
    try:
        return current(root)
    except StateError:
        return None


def rollback(root: Path, generation: str | None = None, leaving: str | None = None) -> str:
    """Go back to `generation`, or to the newest sound one before the current; it is verified first.

    One that its gate refused is gone to only by name. Where the pointer itself is damaged, it is the newest
    sound one of all. `leaving`: the generation that was in use when this was asked for. Raises: StateError
    where another is by now, since somebody else has gone back, or on, meanwhile.
    """
    names = generations(root)
    now = in_use(root)
    if leaving is not None and now != leaving:
        raise StateError(
            f"{root}: {now} is in use, no longer {leaving}: somebody else has switched meanwhile, nothing "
            "was done; look at what is in use, then ask again if it should still go"
        )
    if generation is None:
        older = (name for name in reversed(names) if now is None or name < now)
        generation = next((n for n in older if not verify(root / n) and not refused(root / n)), None)
        if generation is None:
            older_than = f"older than {now} " if now else ""
            raise InputError(f"{root}: nothing {older_than}that could be gone back to")
    elif generation in names and (problems := verify(root / generation)):
        raise StateError(f"{root / generation} can't be used: {'; '.join(problems)}")
    switch(root, generation)
    return generation


def refused(folder: Path) -> list[dict[str, Any]]:
    """The checks of its gate that a generation did not pass; none where there is no gate."""
    checks = Manifest.read(folder).counts.get("gate", {}).get("checks", [])
    return [check for check in checks if not check.get("ok", True)]


@dataclass(frozen=True)
class Opened:
    """A generation that stays in place while the `opened` block lasts."""

    path: Path
    manifest: Manifest

    @property
    def generation(self) -> str:
        return self.path.name


@contextlib.contextmanager
def opened(root: Path, generation: str | None = None, *, checked: bool = True) -> Iterator[Opened]:
    """Hold the current (or the named) generation for reading; `checked` compares every file's sha256 first.

    Raises: StateError when there is none yet, or when a file is damaged.
    """
    name = generation or current(root)
    if name is None:
        raise StateError(f"nothing published in {root} yet; run `mmprod run` first")
    folder = root / name
    try:
        fd = os.open(folder / MANIFEST, os.O_RDONLY)
    except FileNotFoundError:
        raise StateError(f"{folder} is not there; there are {', '.join(generations(root))}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        if checked and (problems := verify(folder)):
            raise StateError(
                f"{folder} is damaged: {'; '.join(problems)}; run `mmprod rollback` or build it again"
            )
        yield Opened(folder, Manifest.read(folder))
    finally:
        os.close(fd)


def newest(root: Path) -> str | None:
    """The latest generation, in use or not; None before the first one."""
    return max(generations(root), default=None)


def reusable(root: Path, inputs: dict[str, Any], config: dict[str, Any]) -> str | None:
    """The generation in use if it was made from the same inputs in the same way and is sound.

    Else the latest, if that was: a process that died between publishing and switching has left it, so it is
    switched to.
    """
    for name in dict.fromkeys((current(root), newest(root))):
        if name and matches(root / name, inputs, config):
            if name != current(root):
                switch(root, name)
            return name
    return None


def matches(folder: Path, inputs: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether a generation was made from the same inputs in the same way and is sound."""
    try:
        manifest = Manifest.read(folder)
    except StateError:
        return False
    return manifest.inputs == inputs and manifest.config == config and not verify(folder)


def verify(folder: Path) -> list[str]:
    """What is wrong with a generation: files missing, damaged or unknown. Empty when all is well."""
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
    """Remove generations older than the newest `keep`; never the current one nor one that is being read."""
    now = current(root)
    removed = []
    for name in generations(root)[: -keep or None]:
        if name != now and _remove_unread(root / name):
            removed.append(name)
    return removed


def _remove_unread(folder: Path) -> bool:
    with (folder / MANIFEST).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        doomed = folder.rename(folder.with_name(f".draft-{folder.name}"))  # gone for readers in one step
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
