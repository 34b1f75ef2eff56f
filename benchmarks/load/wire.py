"""Requests of the v2 inference protocol as bytes, made before a load so that sending costs little."""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Tensors = Mapping[str, Sequence[str | bytes] | int]
"""Texts or bytes by the name of an input, or one number (int32)."""
LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Ask:
    """A request to a model; the first `header` bytes of `body` are JSON, all of them where it is 0.

    `wanted` is the status that it is to be answered with.
    """

    model: str
    body: bytes
    header: int = 0
    wanted: int = 200

    @property
    def path(self) -> str:
        return f"/v2/models/{self.model}/infer"

    @property
    def headers(self) -> dict[str, str]:
        return {LENGTH: str(self.header)} if self.header else {"Content-Type": "application/json"}


def binary(model: str, inputs: Tensors, wanted: int = 200) -> Ask:
    """A request with binary tensors, as client libraries send it; answers are asked for as binary too."""
    tensors, tail = [], b""
    for name, items in inputs.items():
        data = struct.pack("<i", items) if isinstance(items, int) else framed(items)
        tensors.append(_tensor(model, name, items) | {"parameters": {"binary_data_size": len(data)}})
        tail += data
    head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    return Ask(model, head + tail, len(head), wanted)


def plain(model: str, inputs: Tensors) -> dict[str, Any]:
    """A request as JSON throughout, as somebody would write it by hand."""
    values = {name: [items] if isinstance(items, int) else list(items) for name, items in inputs.items()}
    return {"inputs": [_tensor(model, name, inputs[name]) | {"data": values[name]} for name in inputs]}


def http(model: str, body: bytes, headers: str = "") -> bytes:
    """An inference request as it goes over the wire, on a connection of its own."""
    head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def framed(items: Sequence[str | bytes]) -> bytes:
    """Strings as a BYTES tensor: each behind its length, 4 bytes, little-endian."""
    encoded = [item.encode() if isinstance(item, str) else item for item in items]
    return b"".join(struct.pack("<I", len(item)) + item for item in encoded)


def _tensor(model: str, name: str, items: Sequence[str | bytes] | int) -> dict[str, Any]:
    if isinstance(items, int):
        return {"name": name, "datatype": "INT32", "shape": [1]}
    shape = [len(items)] if model == "product_search" else [len(items), 1]  # a search has no batches
    return {"name": name, "datatype": "BYTES", "shape": shape}
