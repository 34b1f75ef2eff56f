"""Checkpoints: written atomically, verified by sha256, read without running pickled code."""

import json
import logging
from pathlib import Path
from typing import Any

import torch

from mmprod.storage.faults import fault
from mmprod.storage.files import make_folder, replace_file, sha256_file, sync_file

log = logging.getLogger(__name__)


def save(folder: Path, step: int, state: dict[str, Any], keep: int) -> None:
    """Write ``step-N.pt``, then ``step-N.json`` with its sha256; remove all but the newest `keep`."""
    make_folder(folder)
    file = folder / f"step-{step:08d}.pt"
    write_tensors(file, state)
    fault("checkpoint.written")
    replace_file(file.with_suffix(".json"), json.dumps({"step": step, "sha256": sha256_file(file)}))
    for old in sorted(folder.glob("step-*.json"))[:-keep]:
        old.unlink()
        old.with_suffix(".pt").unlink(missing_ok=True)


def latest(folder: Path, device: str) -> dict[str, Any] | None:
    """The state of the newest sound checkpoint, None without one; damaged ones are skipped with a warning."""
    for seal in sorted(folder.glob("step-*.json"), reverse=True):
        file = seal.with_suffix(".pt")
        if _sound(seal, file):
            return read_tensors(file, device)
        log.warning("checkpoint %s is damaged; going back to an earlier one", file)
    return None


def latest_step(folder: Path) -> int:
    """The step of the newest sound checkpoint, 0 without one."""
    sound = (
        seal
        for seal in sorted(folder.glob("step-*.json"), reverse=True)
        if _sound(seal, seal.with_suffix(".pt"))
    )
    seal = next(sound, None)
    return int(seal.stem.removeprefix("step-")) if seal else 0


def _sound(seal: Path, file: Path) -> bool:
    try:
        return bool(json.loads(seal.read_text())["sha256"] == sha256_file(file))
    except (ValueError, KeyError, TypeError, OSError):
        return False


def write_tensors(file: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values atomically: to a temporary file, synced and renamed."""
    aside = file.with_name(f".{file.name}.tmp")
    try:
        torch.save(state, aside)
        sync_file(aside)
        aside.replace(file)
    except BaseException:
        aside.unlink(missing_ok=True)  # an incomplete checkpoint only takes disk space
        raise
    sync_file(file.parent)


def read_tensors(file: Path, device: str) -> dict[str, Any]:
    """Read a file of `write_tensors`; only tensors and plain values are accepted, so no code runs."""
    state: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    return state
