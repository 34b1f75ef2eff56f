"""Examines the lake's disk: free space for the next night, locks, syncing; temporary files, open files."""

import os
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from mmprod.doctor.finding import Finding, Level, scratch
from mmprod.storage.files import replace_file
from mmprod.storage.locks import held
from mmprod.storage.room import SPARE, amount, free

MOUNTS = Path("/proc/self/mounts")
_FILES = 1024  # recommended limit of open files: a lake has many shards and generations
_KINDS = {  # file systems that are not plain disks
    "of another machine": ("nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "9p", "virtiofs"),
    "in memory, gone after a restart": ("tmpfs", "ramfs"),
    "of a container, gone with it": ("overlay", "aufs"),
}


def room(lake: Path, need: int) -> Finding:
    """Compare free space with `need`, the bytes of a new generation of each index and recall table."""
    there = free(lake)
    if not need:
        text = f"{amount(there)} free; what is needed can't be told before there are vectors"
        return Finding("disk", "ok", text)
    text = f"{amount(there)} free, new indexes and recall tables take {amount(need)}"
    if need * SPARE > there:
        return Finding("disk", "problem", text, "mmprod prune --keep 1, or a larger disk")
    return Finding("disk", "ok", text)


def file_system(mounts: str, folder: Path) -> Finding:
    """The type of a folder's file system; `mounts`: the content of /proc/self/mounts."""
    rows = [line.split()[1:3] for line in mounts.splitlines()]
    places = [(Path(place.replace("\\040", " ")), kind) for place, kind in rows]
    within = [(place, kind) for place, kind in places if folder.resolve().is_relative_to(place)]
    kind = max(within, key=lambda at: len(at[0].parts))[1] if within else "unknown"
    for told, kinds in _KINDS.items():
        if kind in kinds or (kind.startswith("fuse") and "nfs" in kinds):
            cure = "docs/sizing.md says what it has to give" if "nfs" in kinds else "a lake on a disk"
            return Finding("file system", "note", f"{kind}: {told}", cure)
    return Finding("file system", "ok", kind)


def locks(lake: Path) -> Finding:
    """Whether a file lock excludes a second one."""
    with scratch(lake) as folder:
        path = folder / "lock"
        with held(path):
            try:
                with held(path, wait=False):
                    pass
            except BlockingIOError:
                return Finding("locks", "ok", "one writer keeps another out")
    text = "two writers get the same lock (flock): two runs at once would damage the lake"
    return Finding("locks", "problem", text, "NFS 4.1 or later without nolock, or a local disk")


def writes(lake: Path) -> Finding:
    """Whether a file can be written, synced and renamed over another."""
    with scratch(lake) as folder:
        path = folder / "file"
        replace_file(path, "old")
        start = time.perf_counter()
        replace_file(path, "new")
        seconds = time.perf_counter() - start
        if path.read_text() != "new":
            text = "a file renamed over another is still the old one"
            return Finding("writes", "problem", text, "a lake on a local disk")
    return Finding("writes", "ok", f"written, synced and renamed in {seconds * 1e3:.2g} ms")


def temporary(environment: Mapping[str, str]) -> Finding:
    """Whether the folder for temporary files is usable; some libraries need it."""
    told = environment.get("TMPDIR")
    if told and not os.access(told, os.W_OK | os.X_OK):
        text = f"TMPDIR is {told}, no folder to write to"
        return Finding("temporary files", "problem", text, "unset TMPDIR")
    return Finding("temporary files", "ok", f"{amount(free(Path(tempfile.gettempdir())))} free")


def open_files() -> Finding:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    level: Level = "note" if soft < _FILES else "ok"
    return Finding("open files", level, f"at most {soft:,}", f"ulimit -n {_FILES}" if soft < _FILES else "")
