"""Whether a server answers as its release says, asked over the wire."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp

from mmprod.serving.canaries import Canary, difference
from mmprod.storage.errors import StateError


async def examine(
    session: aiohttp.ClientSession, address: str, canaries: Iterable[Canary], patience: float
) -> None:
    """Ask a server one canary after the other. `patience`: seconds that an answer may take.

    Raises: StateError for the first answer that is wrong or doesn't come.
    """
    for canary in canaries:
        try:
            status, body = await _ask(session, address, canary, patience)
        except TimeoutError:
            raise StateError(f"{canary.model} doesn't answer within {patience:g} s") from None
        except aiohttp.ClientError as error:
            raise StateError(f"{canary.model} doesn't answer: {error!r}") from error
        if wrong := difference(canary, status, body):
            raise StateError(wrong)


def one_each(canaries: Iterable[Canary]) -> list[Canary]:
    """The first canary of each model: what is asked again and again."""
    found: dict[str, Canary] = {}
    for canary in canaries:
        found.setdefault(canary.model, canary)
    return list(found.values())


async def _ask(
    session: aiohttp.ClientSession, address: str, canary: Canary, patience: float
) -> tuple[int, bytes]:
    url = f"http://{address}/v2/models/{canary.model}/infer"
    body = json.dumps(unseen(canary.request, time.monotonic_ns()))
    async with asyncio.timeout(patience), session.post(url, data=body) as answer:
        return answer.status, await answer.read()


def unseen(request: Mapping[str, Any], turn: int) -> dict[str, Any]:
    """The same question in other bytes each turn, so that a model answers it and no response cache.

    Titles get white space at their end, which their normal form leaves out, data URLs another name for
    their kind of picture, which isn't looked at.
    """
    inputs = [
        {**given, "data": [_reworded(given["name"], value, turn) for value in given["data"]]}
        for given in request["inputs"]
    ]
    return {**request, "inputs": inputs}


def _reworded(name: str, value: Any, turn: int) -> Any:
    if value and name.endswith("PICTURE"):
        return value.replace("data:image/", f"data:image/{turn}.", 1)
    if value and name.endswith(("TITLE", "TEXT")):
        return value + f"{turn:b}".replace("0", " ").replace("1", "\t")
    return value
