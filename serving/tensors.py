"""Converts between Triton's tensors and the service's types. Importable in Triton's Python backend only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from mmprod.serving.errors import Busy, Refused
from mmprod.serving.types import Product
from mmprod.storage.errors import StateError


def read_bytes(request: Any, name: str) -> list[bytes] | None:
    """A string input [n, 1] as n bytes; None if an optional input was not sent."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy().reshape(-1).tolist()


def read_texts(request: Any, name: str) -> list[str] | None:
    """A string input [n, 1] as n texts. Raises: Refused for invalid UTF-8."""
    items = read_bytes(request, name)
    return None if items is None else [text_of(name, item) for item in items]


def text_of(name: str, item: bytes) -> str:
    """A string of an input as text. Raises: Refused for invalid UTF-8."""
    try:
        return item.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("bad_text", f"{name} is not UTF-8: {error}") from error


def read_number(request: Any, name: str) -> int:
    """An int32 input [1]. Raises: Refused if it is missing."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    values = [] if tensor is None else tensor.as_numpy().reshape(-1).tolist()
    if len(values) != 1:
        raise Refused("lengths", f"{len(values)} values of {name}, want one")
    return int(values[0])


def read_products(request: Any, side: str = "") -> list[Product]:
    """The products of a request from ``ID``, ``TITLE``, ``PICTURE``, ``CATEGORY``, with the prefix `side`."""
    ids, titles, categories = (read_texts(request, side + name) for name in ("ID", "TITLE", "CATEGORY"))
    pictures = read_bytes(request, side + "PICTURE")
    count = max(len(given) for given in (ids, titles, pictures, categories, []) if given is not None)
    nothing = [""] * count
    if any(len(given) != count for given in (ids, titles, pictures, categories) if given is not None):
        raise Refused("lengths", f"inputs of products have different lengths, the longest {count}")
    columns = (ids or nothing, titles or nothing, pictures or [b""] * count, categories or nothing)
    return [Product(*row) for row in zip(*columns, strict=True)]


def response(**outputs: np.ndarray | Sequence[Any]) -> Any:
    """A response with outputs by name; texts become strings [n, 1], other sequences float32 [n, 1]."""
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, _array(data)) for name, data in outputs.items()])


def error_response(error: Refused | StateError) -> Any:
    """A response with an error: bad request (HTTP 400), temporarily unavailable (503), failure (500)."""
    kinds = pb_utils.TritonError
    code = kinds.INTERNAL
    if isinstance(error, Refused):
        code = kinds.INVALID_ARG
    elif isinstance(error, Busy):
        code = kinds.UNAVAILABLE
    return pb_utils.InferenceResponse(error=kinds(str(error), code))


def _array(data: np.ndarray | Sequence[Any]) -> np.ndarray:
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data)
    if isinstance(data[0], str):
        return np.array([[item.encode()] for item in data], np.object_)
    return np.array(data, np.float32).reshape(-1, 1)
