"""Inference requests of the v2 protocol, looked through before Triton sees them.

Triton answers 500 to much that is a client's fault, and parses nested JSON without a bound. What passes
here is well formed: JSON of known keys, tensors of known names with the right type, whose shape is that of
their data. What the values mean is the models' to judge.

The protocol is KServe's Open Inference Protocol, version 2, with Triton's extension for binary tensors: JSON
first, of the length that a header tells, then the tensors' bytes in the order of the inputs.
"""

import json
import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from mmprod.serving.refused import Code, Refused
from mmprod.serving.repository import Model

VALUES = 4096
"""Most values of a tensor: more than any batch; what is over a model's own limit Triton refuses."""
_MARKS = 1_000_000  # commas and brackets in JSON: bounds what a parsed body takes in memory
_REGION = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset")
_SIZES = {"BYTES": 4, "INT32": 4}  # bytes that a value takes at least: the length of a string, a number
_LARGEST = 2**63 - 1

Json = dict[str, Any]


def check_inference(model: Model, body: bytes, header: str | None, shared_memory: bool) -> float | None:
    """Refused unless a body is a request that Triton can read; the seconds its sender gives it, if any.

    `header` is that of `Inference-Header-Content-Length`, None where there is none: all of `body` is JSON
    then. Regions of shared memory may be named only with `shared_memory`; what they hold is not looked at.
    """
    length = _json_length(header, len(body))
    request = _parse(body[:length] if length < len(body) else body)
    _check_keys("the request", request, {"id", "parameters", "inputs", "outputs"})
    if not isinstance(request.get("id", ""), str):
        _refuse(f"id is {_told(request['id'])}, want a text")
    parameters = _parameters("the request", request, {"binary_data_output": bool, "timeout": int})
    if not 0 <= parameters.get("timeout", 0) <= _LARGEST:
        _refuse(f"timeout is {parameters['timeout']}, want microseconds")
    inputs = _named("inputs", request, model.inputs)
    if missing := sorted(set(model.needed) - set(inputs)) or (not inputs and model.inputs):
        _refuse(f"{model.name} needs the inputs {', '.join(missing)}")
    counts = _check_inputs(model, inputs, memoryview(body)[length:], shared_memory)
    if len(set(counts.values())) > 1:
        _refuse(f"inputs of unlike lengths: {counts}", "lengths")
    _check_outputs(model, request, shared_memory)
    return parameters["timeout"] / 1e6 if parameters.get("timeout") else None


def _json_length(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not (header.isascii() and header.isdigit() and len(header) < 16 and 0 < int(header) <= size):
        _refuse(f"Inference-Header-Content-Length is {_told(header)}, the body has {size} bytes")
    return int(header)


def _parse(data: bytes) -> Json:
    """An object of JSON: UTF-8 throughout, no key twice in an object, no NaN, not nested without end."""
    if len(data) > _MARKS and sum(map(data.count, (b",", b"[", b"{"))) > _MARKS:
        _refuse(f"JSON with more than {_MARKS} commas and brackets", "too_large")
    try:
        found = _DECODER.decode(data.decode("utf-8"))
        if b"\\u" in data:  # half of a surrogate pair has no UTF-8 form
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except Refused:
        raise
    except RecursionError:
        _refuse("JSON nested too deep")
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        _refuse(f"JSON that is no UTF-8: {error.reason}")
    except ValueError as error:
        _refuse(f"no JSON: {error}")
    if not isinstance(found, dict):
        _refuse(f"the request is {_told(found)}, want an object")
    return found


def _object(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        _refuse(f"a key twice in {_told([key for key, _ in pairs])}")
    return found


def _no_constant(name: str) -> NoReturn:
    _refuse(f"{name} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)


def _check_inputs(
    model: Model, inputs: Mapping[str, Json], binary: memoryview, shared_memory: bool
) -> dict[str, int]:
    """How many values each input has. Raises: Refused."""
    counts = {}
    taken = 0
    for name, tensor in inputs.items():
        _check_keys(name, tensor, {"name", "shape", "datatype", "parameters", "data"})
        kind = "INT32" if name == "K" else "BYTES"
        if tensor.get("datatype") != kind:
            _refuse(f"datatype of {name} is {_told(tensor.get('datatype'))}, want {kind}")
        counts[name] = count = _count(model, name, tensor.get("shape"))
        parameters = _parameters(name, tensor, {"binary_data_size": int, **_region(shared_memory)})
        if ("data" in tensor) + ("binary_data_size" in parameters) + (_REGION[0] in parameters) != 1:
            _refuse(f"{name} needs its values in one way: data, binary_data_size or a region")
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
        _refuse(f"{len(binary)} bytes after the JSON, the inputs tell of {taken}")
    return counts


def _count(model: Model, name: str, shape: Any) -> int:
    """How many values a tensor of a shape has: [n, 1], or [1] where the model has no batches."""
    rank = 2 if model.batches else 1
    good = isinstance(shape, list) and len(shape) == rank and all(type(size) is int for size in shape)
    if not good or shape[-1] != 1 or not 1 <= shape[0] <= VALUES:
        _refuse(f"shape of {name} is {_told(shape)}, want {[f'1 to {VALUES}', 1][-rank:]}")
    count: int = shape[0]
    return count


def _check_data(name: str, kind: str, data: Any, shape: Sequence[int]) -> None:
    """Values in JSON, in a flat list or nested as the shape tells."""
    values = list(_flat(data, len(shape))) if isinstance(data, list) else None
    wanted = math.prod(shape)
    if values is None or len(values) != wanted:
        found = _told(data) if values is None else f"{len(values)} values"
        _refuse(f"{name} has {found}, its shape {list(shape)} wants {wanted}")
    for value in values:
        if kind == "BYTES" and type(value) is not str:
            _refuse(f"{_told(value)} in {name}, want a text")
        if kind == "INT32" and not (type(value) is int and -(2**31) <= value < 2**31):
            _refuse(f"{_told(value)} in {name}, want a number of 32 bits without a fraction")


def _flat(data: list[Any], depth: int) -> Iterator[Any]:
    for item in data:
        if isinstance(item, list) and depth > 1:
            yield from _flat(item, depth - 1)
        else:
            yield item


def _check_binary(name: str, kind: str, data: memoryview, count: int) -> None:
    """Numbers of 4 bytes, or strings, each after its length in 4 bytes, least first."""
    end = 0
    for _ in range(count):
        length = 0 if kind == "INT32" else int.from_bytes(data[end : end + 4], "little")
        end += 4 + length
    if end != len(data):
        _refuse(f"{name} has {len(data)} bytes, its {count} values want {end}")


def _check_region(name: str, parameters: Mapping[str, Any], least: int) -> None:
    size, offset = parameters.get(_REGION[1], -1), parameters.get(_REGION[2], 0)
    if not (least <= size <= _LARGEST and 0 <= offset <= _LARGEST - size):
        _refuse(f"{name} lies in {size} bytes of a region from {offset} on, want {least} or more")


def _check_outputs(model: Model, request: Json, shared_memory: bool) -> None:
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
    """Tensors of a request by name, each known and there once. Raises: Refused."""
    tensors = request.get(what)
    if not isinstance(tensors, list) or not all(isinstance(tensor, dict) for tensor in tensors):
        _refuse(f"{what} is {_told(tensors)}, want a list of objects")
    found: dict[str, Json] = {}
    for tensor in tensors:
        name = tensor.get("name")
        if not isinstance(name, str) or name not in known or name in found:
            repeated = "twice " if isinstance(name, str) and name in found else ""
            _refuse(f"{what} has {repeated}{_told(name)}, there are {', '.join(known)}")
        found[name] = tensor
    return found


def _parameters(what: str, of: Json, known: Mapping[str, type]) -> Json:
    """The parameters of a part of a request, each of its type. Raises: Refused."""
    parameters = of.get("parameters", {})
    _check_keys(f"parameters of {what}", parameters, known)
    for name, value in parameters.items():
        if type(value) is not known[name]:
            _refuse(f"{name} of {what} is {_told(value)}, want {known[name].__name__}")
    found: Json = parameters
    return found


def _check_keys(what: str, of: Any, known: Mapping[str, type] | set[str]) -> None:
    if not isinstance(of, dict):
        _refuse(f"{what}: {_told(of)}, want an object")
    if unknown := sorted(of.keys() - set(known)):
        _refuse(f"{what}: unknown {_told(unknown)}, there are {', '.join(sorted(known)) or 'none'}")


def _told(value: Any) -> str:
    """A value as a message shows it, however long or deep it is."""
    return "nothing" if value is None else reprlib.repr(value)


def _refuse(message: str, code: Code = "bad_request") -> NoReturn:
    raise Refused(code, message)
