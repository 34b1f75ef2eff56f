"""Canaries: requests stored in a release together with the answers that a correct server gives to them.

A probe sends them to a server and compares the answers. Triton's own READY says only that the models were
loaded: with an incompatible numpy in its environment a READY Triton gave empty outputs.
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
"""Allowed difference of a score, or of a component of a vector, by the engine's precision. Other processors
and runtimes round differently: fp32 on another one was seen to differ by 1e-6."""
Value = str | float | None


@dataclass(frozen=True)
class Canary:
    """A request to a model and its expected answer.

    `request` is the body of an inference request (KServe v2, JSON). `expected`: the flat values of some
    outputs by name, None for NaN. Numbers may differ by `close`; texts must be equal.
    """

    model: str
    request: Mapping[str, Any]
    expected: Mapping[str, Sequence[Value]]
    close: float


def write_canaries(folder: Path, canaries: Sequence[Canary]) -> None:
    """Write canaries.json; the caller syncs it."""
    content = [asdict(canary) for canary in canaries]
    (folder / FILE).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def read_canaries(folder: Path) -> list[Canary]:
    """The canaries of a release. Raises: StateError if there are none or they can't be read."""
    try:
        canaries = [Canary(**content) for content in json.loads((folder / FILE).read_bytes())]
    except (OSError, ValueError, TypeError) as error:
        raise StateError(f"{folder / FILE} can't be read: {error}; run `mmprod release build`") from error
    if not canaries:
        raise StateError(f"{folder / FILE} is empty; run `mmprod release build`")
    return canaries


def difference(canary: Canary, status: int, body: bytes) -> str | None:
    """What is wrong with a server's answer, as a message; None if it is correct."""
    if status != 200:
        return f"{canary.model} answers {status}: {body[:500].decode(errors='replace')}"
    try:
        outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
    except (ValueError, TypeError, KeyError) as error:
        return f"{canary.model}: the answer can't be read: {error!r}"
    for name, expected in canary.expected.items():
        if (actual := outputs.get(name)) is None or len(actual) != len(expected):
            count = "no" if actual is None else len(actual)
            return f"{canary.model} answers with {count} values of {name}, want {len(expected)}"
        for one, other in zip(actual, expected, strict=True):
            if not _equal(one, other, canary.close):
                return f"{canary.model}: {name} has {one!r}, expected {other!r}"
    return None


def _equal(actual: Any, expected: Value, close: float) -> bool:
    if expected is None:
        return actual is None or (isinstance(actual, float) and math.isnan(actual))
    if isinstance(expected, str) or not isinstance(actual, int | float):
        return bool(actual == expected)
    return abs(actual - expected) <= close
