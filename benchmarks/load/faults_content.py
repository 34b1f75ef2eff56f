"""Faults of what an inference request carries: values, and tensors as bytes."""

import base64
import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

from load.shop import PROFILE, Catalogue
from load.wire import Tensors, binary

MOST = 64  # rows of a request (serving.batch)
TEXT_BYTES = 1_048_576  # of a title (serving.text_bytes)
Question = tuple[str, Tensors]
"""A model and its inputs."""
Fault = Callable[[random.Random, Catalogue], Question]


def _bad_picture(chance: random.Random, known: Catalogue) -> bytes:
    """What calls itself a picture: a page, nothing, half a file, billions of pixels, noise."""
    sound = chance.choice(known.pictures)
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    )
    wrong = (b"<html></html>", sound[: chance.randint(1, len(sound) // 2)], bomb, chance.randbytes(300))
    return chance.choice(wrong)


def _picture(chance: random.Random, known: Catalogue) -> Question:
    data = base64.b64encode(_bad_picture(chance, known)).decode()
    return "image_encoder", {"PICTURE": [f"data:image/jpeg;base64,{data}"]}


def _base64(chance: random.Random, known: Catalogue) -> Question:
    data = base64.b64encode(chance.choice(known.pictures)).decode()
    at = chance.randrange(len(data) // 2)
    return "image_encoder", {"PICTURE": [f"data:image/jpeg;base64,{data[:at]}*{data[at:]}"]}


def _pair(**change: list[str]) -> Fault:
    def made(_: random.Random, known: Catalogue) -> Question:
        sides = {"A_ID": known.ids[:1], "B_ID": known.ids[1:2], "PROFILE": [PROFILE]}
        return "pair_similarity", sides | change

    return made


def _search(**change: Any) -> Fault:
    def made(_: random.Random, known: Catalogue) -> Question:
        asked: dict[str, Any] = {"ID": known.ids[:1], "PROFILE": [PROFILE], "K": 5}
        return "product_search", asked | change

    return made


def _titles(*titles: str) -> Question:
    return "text_encoder", {"TITLE": titles}


_TITLE_ONLY: Tensors = {"TITLE": ["a mug"], "PROFILE": ["selection"], "K": 1}
CONTENT_FAULTS: dict[str, Fault] = {
    "no picture": _picture,
    "broken base64": _base64,
    "nothing to see": lambda chance, _: _titles(chance.choice(("", " \t\n", "\u200b\u200e"))),
    "title too long": lambda chance, _: _titles("x" * (TEXT_BYTES + chance.randint(1, 9))),
    "too many rows": lambda chance, _: _titles(*["a"] * (MOST + chance.randint(1, 5_000))),
    "unknown id": lambda chance, known: _pair(A_ID=[chance.randbytes(9).hex()])(chance, known),
    "unknown profile": _pair(PROFILE=["no such profile"]),
    "unknown category": _search(FILTER=["no such category"]),
    "id and content": _pair(A_TITLE=["red mug"]),
    "empty product": _pair(A_ID=[""]),
    "unlike lengths": _pair(PROFILE=[PROFILE, PROFILE]),
    "title where pictures count": lambda *_: ("product_search", _TITLE_ONLY),
    "bad k": lambda chance, known: _search(K=chance.choice((0, -1, 10**9, 1001, -(2**31))))(chance, known),
    "k over 32 bits": lambda chance, known: _search(K=chance.choice((2**31, 10**12, 10**30)))(chance, known),
    "two questions": _search(TEXT=["red mug"]),
}


def _lengths(chance: random.Random, known: Catalogue) -> tuple[str, bytes]:
    ask = binary("text_encoder", {"TITLE": known.titles[:1]})
    return chance.choice(("", "x", "-1", "0", "1.5", str(len(ask.body) + 1), "9" * 30, "1")), ask.body


def _sizes(chance: random.Random, known: Catalogue) -> tuple[str, bytes]:
    ask = binary("text_encoder", {"TITLE": known.titles[:1]})
    request = json.loads(ask.body[: ask.header])
    size = request["inputs"][0]["parameters"]["binary_data_size"]
    wrong = (size - 1, size + 1, 0, -size, 2**63, 2**70, str(size), None)
    request["inputs"][0]["parameters"]["binary_data_size"] = chance.choice(wrong)
    head = json.dumps(request).encode()
    return str(len(head)), head + ask.body[ask.header :]


def _framing(chance: random.Random, known: Catalogue) -> tuple[str, bytes]:
    ask = binary("text_encoder", {"TITLE": known.titles[:1]})
    frames = (
        struct.pack("<I", chance.choice((0, 1, 2**31, 2**32 - 1, len(ask.body)))) + ask.body[ask.header + 4 :]
    )
    return str(ask.header), ask.body[: ask.header] + frames


def _no_text(chance: random.Random, _: Catalogue) -> tuple[str, bytes]:
    ask = binary("text_encoder", {"TITLE": [b"red \xff\xfe mug" + chance.randbytes(9)]})
    return str(ask.header), ask.body


def _trailing(chance: random.Random, known: Catalogue) -> tuple[str, bytes]:
    ask = binary("text_encoder", {"TITLE": known.titles[:1]})
    return str(ask.header), ask.body + chance.randbytes(chance.randint(1, 99))


BINARY_FAULTS: dict[str, Callable[[random.Random, Catalogue], tuple[str, bytes]]] = {
    "wrong length of JSON": _lengths,
    "wrong size of tensor": _sizes,
    "wrong length of string": _framing,
    "string that is no text": _no_text,
    "bytes left over": _trailing,
}
