"""Checks the form of inference requests before they are sent to Triton.

Triton answers 500 to many invalid requests, and parses nested JSON without a limit. A request that passes
here is well formed: JSON with known keys, tensors with known names and the right type, shapes that match the
data. The models check the values.

The protocol is KServe's Open Inference Protocol, version 2, with Triton's extension for binary tensors: JSON,
whose length is in a header, then the bytes of the tensors in the order of the inputs.
"""

import json
import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from mmprod.serving.errors import Code, Refused
from mmprod.serving.repository import ModelSpec

VALUES = 4096
"""Most values of a tensor: more than any batch; Triton refuses what is over a model's own limit."""
_MARKS = 1_000_000  # commas and brackets in JSON: limits the memory of a parsed body
_REGION = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset")
_SIZES = {"BYTES": 4, "INT32": 4}  # smallest size of a value in bytes: the length of a string, a number
_LARGEST = 2**63 - 1

Json = dict[str, Any]


def check_inference(model: ModelSpec, body: bytes, header: str | None, shared_memory: bool) -> float | None:
    """Check a request's body. Returns the request's own timeout in seconds, if it has one.

    `header`: the value of `Inference-Header-Content-Length`; None if all of `body` is JSON. Regions of shared
    memory are allowed only with `shared_memory`; their content is not checked. Raises: Refused.
    """
    length = _json_length(header, len(body))
    request = _parse(body[:length] if length < len(body) else body)
    _check_keys("the request", request, {"id", "parameters", "inputs", "outputs"})
    if not isinstance(request.get("id", ""), str):
        _refuse(f"id is {_shown(request['id'])}, want a text")
    parameters = _parameters("the request", request, {"binary_data_output": bool, "timeout": int})
    if not 0 <= parameters.get("timeout", 0) <= _LARGEST:
        _refuse(f"timeout is {parameters['timeout']}, want microseconds")
    inputs = _named("inputs", request, model.inputs)
    if missing := sorted(set(model.required) - set(inputs)) or (not inputs and model.inputs):
        _refuse(f"{model.name} needs the inputs {', '.join(missing)}")
    counts = _check_inputs(model, inputs, memoryview(body)[length:], shared_memory)
    if len(set(counts.values())) > 1:
        _refuse(f"inputs have different lengths: {counts}", "lengths")
    _check_outputs(model, request, shared_memory)
    return parameters["timeout"] / 1e6 if parameters.get("timeout") else None


def _json_length(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not (header.isascii() and header.isdigit() and len(header) < 16 and 0 < int(header) <= size):
        _refuse(f"Inference-Header-Content-Length is {_shown(header)}, the body has {size} bytes")
    return int(header)


def _parse(data: bytes) -> Json:
    """A JSON object in valid UTF-8, without duplicate keys and NaN, not nested too deep. Raises: Refused."""
    if len(data) > _MARKS and sum(map(data.count, (b",", b"[", b"{"))) > _MARKS:
        _refuse(f"JSON with more than {_MARKS} commas and brackets", "too_large")
    try:
        content = _DECODER.decode(data.decode("utf-8"))
        if b"\\u" in data:  # half of a surrogate pair has no UTF-8 form
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except Refused:
        raise
    except RecursionError:
        _refuse("JSON nested too deep")
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        _refuse(f"JSON that is not UTF-8: {error.reason}")
    except ValueError as error:
        _refuse(f"not JSON: {error}")
    if not isinstance(content, dict):
        _refuse(f"the request is {_shown(content)}, want an object")
    return content


def _object(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        _refuse(f"a duplicate key in {_shown([key for key, _ in pairs])}")
    return found


def _no_constant(name: str) -> NoReturn:
    _refuse(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)


def _check_inputs(
    model: ModelSpec, inputs: Mapping[str, Json], binary: memoryview, shared_memory: bool
) -> dict[str, int]:
    """The number of values of each input. Raises: Refused."""
    counts = {}
    taken = 0
    for name, tensor in inputs.items():
        _check_keys(name, tensor, {"name", "shape", "datatype", "parameters", "data"})
        kind = "INT32" if name == "K" else "BYTES"
        if tensor.get("datatype") != kind:
            _refuse(f"datatype of {name} is {_shown(tensor.get('datatype'))}, want {kind}")
        counts[name] = count = _count(model, name, tensor.get("shape"))
        parameters = _parameters(name, tensor, {"binary_data_size": int, **_region(shared_memory)})
        if ("data" in tensor) + ("binary_data_size" in parameters) + (_REGION[0] in parameters) != 1:
            _refuse(f"{name} needs its values in exactly one of data, binary_data_size and a region")
        if "data" in tensor:
            _check_data(name, kind, tensor["data"], tensor["shape"])
        elif _REGION[0] in parameters:
            _check_region(name, parameters, count * _SIZES[kind])
        else:
            size = parameters["binary_data_size"]
            if not 0 <= size <= len(binary) - taken:
                _refuse(f"{name} has {size} bytes, {len(binary) - taken} of the body are left")
            _check_binary(name, kind, binary[taken : taken + size], count)
            taken += size
    if taken != len(binary):
        _refuse(f"{len(binary)} bytes follow the JSON, the inputs have {taken} bytes")
    return counts


def _count(model: ModelSpec, name: str, shape: Any) -> int:
    """The number of values in a tensor's shape, which is [n, 1], or [1] if the model has no batches."""
    rank = 2 if model.batches else 1
    good = isinstance(shape, list) and len(shape) == rank and all(type(size) is int for size in shape)
    if not good or shape[-1] != 1 or not 1 <= shape[0] <= VALUES:
        _refuse(f"shape of {name} is {_shown(shape)}, want {[f'1 to {VALUES}', 1][-rank:]}")
    count: int = shape[0]
    return count


def _check_data(name: str, kind: str, data: Any, shape: Sequence[int]) -> None:
    """Check values in JSON: a flat list, or nested lists of the shape."""
    values = list(_flat(data, len(shape))) if isinstance(data, list) else None
    expected = math.prod(shape)
    if values is None or len(values) != expected:
        actual = _shown(data) if values is None else f"{len(values)} values"
        _refuse(f"{name} has {actual}, its shape {list(shape)} wants {expected}")
    for value in values:
        if kind == "BYTES" and type(value) is not str:
            _refuse(f"{_shown(value)} in {name}, want a text")
        if kind == "INT32" and not (type(value) is int and -(2**31) <= value < 2**31):
            _refuse(f"{_shown(value)} in {name}, want a number of 32 bits without a fraction")


def _flat(data: list[Any], depth: int) -> Iterator[Any]:
    for item in data:
        if isinstance(item, list) and depth > 1:
            yield from _flat(item, depth - 1)
        else:
            yield item


def _check_binary(name: str, kind: str, data: memoryview, count: int) -> None:
    """Check binary values: numbers of 4 bytes, or strings, each after its length as little-endian uint32."""
    end = 0
    for _ in range(count):
        length = 0 if kind == "INT32" else int.from_bytes(data[end : end + 4], "little")
        end += 4 + length
    if end != len(data):
        _refuse(f"{name} has {len(data)} bytes, its {count} values want {end}")


def _check_region(name: str, parameters: Mapping[str, Any], least: int) -> None:
    size, offset = parameters.get(_REGION[1], -1), parameters.get(_REGION[2], 0)
    if not (least <= size <= _LARGEST and 0 <= offset <= _LARGEST - size):
        _refuse(f"{name} has {size} bytes of a region at offset {offset}, want {least} or more")


def _check_outputs(model: ModelSpec, request: Json, shared_memory: bool) -> None:
    if "outputs" not in request:
        return
    for name, output in _named("outputs", request, model.outputs).items():
        _check_keys(name, output, {"name", "parameters"})
        parameters = _parameters(name, output, {"binary_data": bool, **_region(shared_memory)})
        if not parameters.keys().isdisjoint(_REGION):
            _check_region(name, parameters, 1)


def _region(allowed: bool) -> dict[str, type]:
    return dict(zip(_REGION, (str, int, int), strict=True)) if allowed else {}


def _named(what: str, request: Json, known: Sequence[str] | Mapping[str, str]) -> dict[str, Json]:
    """Tensors of a request by name; each name is known and occurs once. Raises: Refused."""
    tensors = request.get(what)
    if not isinstance(tensors, list) or not all(isinstance(tensor, dict) for tensor in tensors):
        _refuse(f"{what} is {_shown(tensors)}, want a list of objects")
    found: dict[str, Json] = {}
    for tensor in tensors:
        name = tensor.get("name")
        if not isinstance(name, str) or name not in known or name in found:
            repeated = "twice " if isinstance(name, str) and name in found else ""
            _refuse(f"{what} has {repeated}{_shown(name)}, there are {', '.join(known)}")
        found[name] = tensor
    return found


def _parameters(what: str, of: Json, known: Mapping[str, type]) -> Json:
    """The parameters of a part of a request, each with its type. Raises: Refused."""
    parameters = of.get("parameters", {})
    _check_keys(f"parameters of {what}", parameters, known)
    for name, value in parameters.items():
        if type(value) is not known[name]:
            _refuse(f"{name} of {what} is {_shown(value)}, want {known[name].__name__}")
    found: Json = parameters
    return found


def _check_keys(what: str, of: Any, known: Mapping[str, type] | set[str]) -> None:
    if not isinstance(of, dict):
        _refuse(f"{what}: {_shown(of)}, want an object")
    if unknown := sorted(of.keys() - set(known)):
        _refuse(f"{what}: unknown {_shown(unknown)}, there are {', '.join(sorted(known)) or 'none'}")


def _shown(value: Any) -> str:
    """A value as shown in a message; long or deep ones are shortened."""
    return "nothing" if value is None else reprlib.repr(value)


def _refuse(message: str, code: Code = "bad_request") -> NoReturn:
    raise Refused(code, message)
