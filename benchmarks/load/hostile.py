"""Requests that no service should fall over, each wrong by construction, drawn from a seed.

A fault takes a sound request and spoils it. What it makes is never answerable, so the only right answer is
a 4xx; `flipped` alone may leave a request sound, and may be answered.
"""

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from load.faults_content import BINARY_FAULTS, CONTENT_FAULTS
from load.faults_http import HTTP_FAULTS
from load.faults_json import JSON_FAULTS
from load.shop import PROFILE, Catalogue
from load.wire import LENGTH, Tensors, http, plain

Json = dict[str, Any]


@dataclass(frozen=True)
class Hostile:
    """One connection's worth of bytes. `kind`: the fault; `leaves`: the sender goes without an answer."""

    kind: str
    raw: bytes
    wanted: tuple[int, ...] = (4,)  # first digits of the statuses that are right
    leaves: bool = False


class Hostiles:
    """Draws them, about the products of a catalogue."""

    def __init__(self, known: Catalogue, seed: int) -> None:
        self.known, self.chance = known, random.Random(seed)

    def draw(self, count: int) -> Iterator[Hostile]:
        """So many, of every kind alike; every hundredth or so is sound, to be answered."""
        kinds = [*JSON_FAULTS, *CONTENT_FAULTS, *BINARY_FAULTS, *HTTP_FAULTS, "flipped", "leaves early"]
        for number in range(count):
            yield self._made("sound" if number % 101 == 100 else kinds[number % len(kinds)])

    def sound(self) -> tuple[str, Json]:
        """A model and a request to it, as JSON, that it answers."""
        row = self.chance.randrange(len(self.known.ids))
        title, name = self.known.titles[row], self.known.ids[row]
        picture = f"data:image/jpeg;base64,{base64.b64encode(self.known.pictures[row]).decode()}"
        pair = {"A_ID": [name], "B_TITLE": [title], "B_PICTURE": [picture], "PROFILE": [PROFILE]}
        questions: tuple[tuple[str, Tensors], ...] = (
            ("text_encoder", {"TITLE": [title]}),
            ("image_encoder", {"PICTURE": [picture]}),
            ("product_encoder", {"TITLE": [title], "PICTURE": [picture]}),
            ("pair_similarity", pair),
            ("product_search", {"ID": [name], "PROFILE": [PROFILE], "K": 5}),
        )
        model, inputs = self.chance.choice(questions)
        return model, plain(model, inputs)

    def _made(self, kind: str) -> Hostile:
        model, request = self.sound()
        body = json.dumps(request).encode()
        if kind in JSON_FAULTS:
            return Hostile(kind, http(model, JSON_FAULTS[kind](self.chance, request)))
        if kind in CONTENT_FAULTS:
            model, inputs = CONTENT_FAULTS[kind](self.chance, self.known)
            return Hostile(kind, http(model, json.dumps(plain(model, inputs)).encode()))
        if kind in BINARY_FAULTS:
            header, body = BINARY_FAULTS[kind](self.chance, self.known)
            return Hostile(kind, http("text_encoder", body, f"{LENGTH}: {header}\r\n"))
        if kind in HTTP_FAULTS:
            return Hostile(kind, HTTP_FAULTS[kind](self.chance, model, request))
        if kind == "flipped":
            return Hostile(kind, http(model, flip(self.chance, body)), (2, 4))
        raw = http(model, body)
        if kind == "leaves early":
            return Hostile(kind, raw[: self.chance.randrange(1, len(raw))], leaves=True)
        return Hostile(kind, raw, (2,))


def flip(chance: random.Random, body: bytes) -> bytes:
    """One to eight bytes replaced by any others."""
    spoiled = bytearray(body)
    for _ in range(chance.randint(1, 8)):
        spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
    return bytes(spoiled)
