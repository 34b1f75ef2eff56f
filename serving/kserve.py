"""Encoding and decoding of tensors in the KServe v2 protocol with its binary extension.

A body is JSON that describes the tensors, followed by the bytes of each tensor. A string is its length as a
little-endian uint32, then its bytes. tritonclient does the same, but imports gevent into every process.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

Tensors = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]

JSON_LENGTH = "Inference-Header-Content-Length"
_LENGTH = struct.Struct("<I")
_DTYPES = {"FP32": np.dtype("<f4"), "INT32": np.dtype("<i4")}


class SharedMemory(Protocol):
    """Memory that a client shares with the server, so that strings need not be in the body."""

    def put(self, pieces: Sequence[bytes], size: int) -> dict[str, Any] | None:
        """Write a tensor's content; the tensor's parameters in the request, None if it doesn't fit."""


def encode(
    inputs: Tensors, timeout: float, shared: SharedMemory | None = None
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request that the server should answer within `timeout` seconds.

    Inputs of int32 are sent as numbers, inputs of objects (bytes) as strings, in `shared` if they fit there.
    """
    parameters = {"binary_data_output": True, "timeout": max(1, round(timeout * 1e6))}
    described: list[dict[str, Any]] = []
    body = [b""]
    for name, data in inputs.items():
        kind, pieces = _pieces(data)
        size = sum(map(len, pieces))
        in_memory = shared.put(pieces, size) if shared and kind == "BYTES" else None
        if in_memory is None:
            body += pieces
        tensor = {"name": name, "shape": data.shape, "datatype": kind}
        described.append(tensor | {"parameters": in_memory or {"binary_data_size": size}})
    body[0] = json.dumps({"parameters": parameters, "inputs": described}).encode()
    return b"".join(body), {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(body[0]))}


def decode(body: bytes, json_length: str | None) -> Outputs:
    """Outputs by name: float32, int32, or objects (bytes). Raises: ValueError for an invalid response."""
    try:
        start = len(body) if json_length is None else int(json_length)
        return dict(_outputs(json.loads(body[:start])["outputs"], memoryview(body)[start:]))
    except (LookupError, TypeError, ArithmeticError, RecursionError, struct.error) as error:
        raise ValueError(f"the response can't be read: {error!r}") from error


def _outputs(described: list[dict[str, Any]], rest: memoryview) -> Iterator[tuple[str, np.ndarray]]:
    for output in described:
        size = output["parameters"]["binary_data_size"]
        if not 0 <= size <= len(rest):
            raise ValueError(f"{output['name']} has {size} bytes, {len(rest)} are left")
        data, rest = rest[:size], rest[size:]
        yield output["name"], _array(data, output["datatype"]).reshape(tuple(output["shape"]))


def _array(data: memoryview, kind: str) -> np.ndarray:
    if kind == "BYTES":
        return np.array([*_strings(data)], np.object_)
    return np.frombuffer(data, _DTYPES[kind]).copy()


def _strings(data: memoryview) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + length
        if at > len(data):
            raise ValueError(f"a string of {length} bytes is longer than its tensor")
        yield bytes(data[at - length : at])


def _pieces(data: np.ndarray) -> tuple[str, list[bytes]]:
    """A tensor's datatype in the protocol, and its bytes."""
    if data.dtype != np.object_:
        return "INT32", [data.tobytes()]
    strings = data.reshape(-1).tolist()
    return "BYTES", [piece for item in strings for piece in (_LENGTH.pack(len(item)), item)]
