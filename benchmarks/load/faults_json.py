"""Faults of an inference request's JSON: what it is made of, or how its tensors are told of."""

import json
import random
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]


def _spoil(change: Callable[[random.Random, Json, Json], None]) -> Callable[[random.Random, Json], bytes]:
    """A fault of JSON that changes the request, or its first tensor, in place."""

    def fault(chance: random.Random, request: Json) -> bytes:
        change(chance, request, request["inputs"][0])
        return json.dumps(request).encode()

    return fault


def _deep(chance: random.Random, request: Json) -> bytes:
    opening = chance.choice(("[", '{"inputs":', '{"inputs":[{"data":[')) * chance.randint(1_000, 50_000)
    return opening.encode()


def _cut(chance: random.Random, request: Json) -> bytes:
    body = json.dumps(request).encode()
    return body[: chance.randrange(len(body))]


def _constant(chance: random.Random, request: Json) -> bytes:
    request["inputs"][0]["data"] = [chance.choice((float("nan"), float("inf"), -float("inf")))]
    return json.dumps(request).encode()


def _shape(chance: random.Random, _: Json, tensor: Json) -> None:
    whole = tensor["shape"]
    wrong: tuple[Any, ...] = (
        [],
        [-1, 1],
        [0, 1],
        [2**40, 1],
        [1] * 40,
        ["1", 1],
        [1.5, 1],
        "1",
        None,
        {},
        [*whole, 1],
        [True],
    )
    tensor["shape"] = chance.choice(wrong)


def _values(chance: random.Random, _: Json, tensor: Json) -> None:
    tensor["data"] = chance.choice(
        ([], [1, 2, 3], ["a", "b"], [{}], [None], "a", {"a": 1}, [[["a"]]], [10**400])
    )


def _no_inputs(chance: random.Random, request: Json, _: Json) -> None:
    request["inputs"] = chance.choice(([], {}, None, "a", [1]))


def _timeout(chance: random.Random, request: Json, _: Json) -> None:
    request["parameters"] = {"timeout": chance.choice((-1, "x", 2**70, 0.5))}


def _region(_: random.Random, __: Json, tensor: Json) -> None:
    tensor["parameters"] = {"shared_memory_region": "a", "shared_memory_byte_size": 9}


JSON_FAULTS: dict[str, Callable[[random.Random, Json], bytes]] = {
    "JSON cut off": _cut,
    "JSON nested deep": _deep,
    "noise for JSON": lambda chance, _: b"\xff" + chance.randbytes(chance.randint(0, 500)),
    "JSON of another kind": lambda chance, _: chance.choice((b"null", b"[]", b'"x"', b"17", b"true", b"{}")),
    "JSON in UTF-16": lambda _, request: json.dumps(request).encode("utf-16"),
    "NaN, Infinity": _constant,
    "inputs twice": lambda _, request: b'{"inputs":[],' + json.dumps(request).encode()[1:],
    "lone surrogate": lambda _, request: json.dumps(request | {"id": "\ud800"}).encode(),
    "no inputs": _spoil(_no_inputs),
    "unknown tensor": _spoil(lambda chance, _, tensor: tensor.update(name=chance.choice(("X", "", 1, None)))),
    "tensor twice": _spoil(lambda _, request, tensor: request["inputs"].append(tensor)),
    "wrong type": _spoil(lambda chance, _, t: t.update(datatype=chance.choice(("FP32", "INT8", "", None)))),
    "wrong shape": _spoil(_shape),
    "wrong values": _spoil(_values),
    "no values": _spoil(lambda _, __, tensor: tensor.pop("data")),
    "unknown output": _spoil(lambda _, request, __: request.update(outputs=[{"name": "NOTHING"}])),
    "bad timeout": _spoil(_timeout),
    "shared memory": _spoil(_region),
}
