"""Canaries: questions that a release carries with the answers to them, so that any server can be tried.

READY says only that models were loaded: with an unfit numpy in its environment Triton gave empty outputs.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmprod.storage.errors import StateError

FILE = "canaries.json"
CLOSE = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 5e-2}
"""Largest difference of a score, or of a component of a vector, by an engine's precision. Other processors
and runtimes round differently: fp32 on another one was seen to differ by 1e-6."""
Value = str | float | None


@dataclass(frozen=True)
class Canary:
    """A question to a model, and what has to come back.

    `request` is the body of an inference request (KServe v2, JSON). `expected` has the flat values of some
    outputs by name, None for NaN; numbers may differ by `close`, texts not at all.
    """

    model: str
    request: Mapping[str, Any]
    expected: Mapping[str, Sequence[Value]]
    close: float


def write_canaries(folder: Path, canaries: Sequence[Canary]) -> None:
    """Write canaries.json; syncing is the caller's."""
    content = [asdict(canary) for canary in canaries]
    (folder / FILE).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def read_canaries(folder: Path) -> list[Canary]:
    """The canaries of a release. Raises: StateError when there are none that can be read."""
    try:
        found = [Canary(**content) for content in json.loads((folder / FILE).read_bytes())]
    except (OSError, ValueError, TypeError) as error:
        raise StateError(f"{folder / FILE} can't be read: {error}; run `mmprod release`") from error
    if not found:
        raise StateError(f"{folder / FILE} is empty; run `mmprod release`")
    return found


def difference(canary: Canary, status: int, body: bytes) -> str | None:
    """What is wrong with a server's answer, in words; None where it is right."""
    if status != 200:
        return f"{canary.model} answers {status}: {body[:500].decode(errors='replace')}"
    try:
        outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
    except (ValueError, TypeError, KeyError) as error:
        return f"{canary.model} answers what can't be read: {error!r}"
    for name, wanted in canary.expected.items():
        if (found := outputs.get(name)) is None or len(found) != len(wanted):
            count = "no" if found is None else len(found)
            return f"{canary.model} answers with {count} values of {name}, want {len(wanted)}"
        for one, other in zip(found, wanted, strict=True):
            if not _alike(one, other, canary.close):
                return f"{canary.model}: {name} has {one!r} where this release has {other!r}"
    return None


def _alike(one: Any, other: Value, close: float) -> bool:
    if other is None:
        return one is None or (isinstance(one, float) and math.isnan(one))
    if isinstance(other, str) or not isinstance(one, int | float):
        return bool(one == other)
    return abs(one - other) <= close
