"""Probes of servers: varied so that no cache answers them, one canary of each model."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from mmprod.datasets.text import normalise_title
from mmprod.serving.canaries import Canary
from mmprod.serving.gateway.probe import one_per_model, probe, uncached
from mmprod.storage.errors import StateError

REQUEST = {
    "inputs": [
        {"name": "A_ID", "shape": [1, 1], "datatype": "BYTES", "data": ["D1"]},
        {"name": "B_TITLE", "shape": [2, 1], "datatype": "BYTES", "data": ["red mug", ""]},
        {"name": "PICTURE", "shape": [2, 1], "datatype": "BYTES", "data": ["data:image/jpeg;base64,AA", ""]},
        {"name": "K", "shape": [1], "datatype": "INT32", "data": [3]},
    ]
}


def test_titles_and_pictures_differ_in_bytes_each_turn_and_nothing_else_does() -> None:
    first, second = uncached(REQUEST, 5), uncached(REQUEST, 6)
    ids, titles, pictures, counts = [
        (one["data"], two["data"]) for one, two in zip(first["inputs"], second["inputs"], strict=True)
    ]
    assert ids == (["D1"], ["D1"]) and counts == ([3], [3])
    assert titles[0][0] != titles[1][0] and titles[0][1] == titles[1][1] == ""
    assert {normalise_title(title) for title in (titles[0][0], titles[1][0])} == {"red mug"}
    assert pictures == (["data:image/5.jpeg;base64,AA", ""], ["data:image/6.jpeg;base64,AA", ""])
    assert REQUEST["inputs"][1]["data"] == ["red mug", ""]


def test_one_canary_a_model_the_first() -> None:
    canaries = [Canary(model, {"n": n}, {}, 0.1) for n, model in enumerate("abacb")]
    assert [(canary.model, canary.request["n"]) for canary in one_per_model(canaries)] == [
        ("a", 0),
        ("b", 1),
        ("c", 3),
    ]


CANARY = Canary("text_encoder", REQUEST, {"SCORE": [0.5, None]}, 0.01)


def _probe(status: int, body: str, delay: float = 0.0) -> None:
    """Probe a server that gives this answer."""

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(delay)
        return web.Response(status=status, text=body)

    async def asking() -> None:
        app = web.Application()
        app.router.add_post("/v2/models/text_encoder/infer", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with aiohttp.ClientSession() as session:
                host, port = runner.addresses[0]
                await probe(session, f"{host}:{port}", [CANARY], timeout=0.3)
        finally:
            await runner.cleanup()

    asyncio.run(asking())


def _scores(*scores: Any) -> str:
    return json.dumps({"outputs": [{"name": "SCORE", "data": scores}]})


def test_a_right_answer_passes() -> None:
    _probe(200, _scores(0.505, float("nan")))


@pytest.mark.parametrize(
    ("status", "body", "delay", "reason"),
    [
        (200, _scores(0.52, None), 0, "0.52"),
        (200, _scores(), 0, "0 values of SCORE"),
        (200, "{", 0, "can't be read"),
        (500, "Stub process 'text_encoder_0_0' is not healthy.", 0, "not healthy"),
        (503, "nothing there", 0, "503"),
        (200, _scores(0.5, None), 1, "within 0.3 s"),
    ],
)
def test_a_wrong_answer_is_told(status: int, body: str, delay: float, reason: str) -> None:
    with pytest.raises(StateError, match=reason):
        _probe(status, body, delay)


def test_nobody_there() -> None:
    async def asking() -> None:
        async with aiohttp.ClientSession() as session:
            await probe(session, "127.0.0.1:9", [CANARY], timeout=1)

    with pytest.raises(StateError, match="doesn't answer"):
        asyncio.run(asking())
