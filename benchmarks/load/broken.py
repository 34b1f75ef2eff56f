"""Releases that must never serve, each made from a sound one, broken in another way."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from load.shop import PROFILE

Fault = Callable[[Path, Path], None]
"""Breaks the release in the first folder; the second one is sound, and of another encoder."""


def break_release(sound: Path, other: Path, fault: Fault, target: Path) -> Path:
    """A copy of `sound` (links, where the files stay as they are) with a fault."""
    shutil.copytree(sound, target, copy_function=os.link)
    fault(target, other)
    return target


def _write(path: Path, content: bytes) -> None:
    path.unlink()  # a link: the sound release has the same file
    path.write_bytes(content)


def _engine_cut_off(release: Path, _: Path) -> None:
    path = release / "engine" / "text.onnx"
    _write(path, path.read_bytes()[: path.stat().st_size // 2])


def _byte_flipped(release: Path, _: Path) -> None:
    path = release / "indexes" / PROFILE / "index.faiss"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    _write(path, bytes(content))


def _file_missing(release: Path, _: Path) -> None:
    (release / "indexes" / PROFILE / "items.parquet").unlink()


def _foreign_index(release: Path, other: Path) -> None:
    """Whole, and described as it is: only its encoder doesn't fit."""
    shutil.rmtree(release / "indexes" / PROFILE)
    shutil.copytree(other / "indexes" / PROFILE, release / "indexes" / PROFILE)
    content = _read(release / "release.json")
    content["profiles"][PROFILE] = _read(other / "release.json")["profiles"][PROFILE]
    _write(release / "release.json", json.dumps(content).encode())


def _other_answers(release: Path, _: Path) -> None:
    """Its canaries expect a score that is off by a hundredth."""
    canaries = _read(release / "canaries.json")
    last = [canary for canary in canaries if "SCORE" in canary["expected"]][-1]
    last["expected"]["SCORE"][0] += 0.01
    _write(release / "canaries.json", json.dumps(canaries).encode())


def _no_description(release: Path, _: Path) -> None:
    _write(release / "release.json", b"{")


FAULTS: dict[str, Fault] = {
    "engine cut off": _engine_cut_off,
    "a bit of an index flipped": _byte_flipped,
    "a file missing": _file_missing,
    "index of another encoder": _foreign_index,
    "other answers than expected": _other_answers,
    "release.json unreadable": _no_description,
}


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())
