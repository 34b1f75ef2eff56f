"""Probes of a server: as `mmprod.serving.probe`, for asyncio, and with requests that no cache answers."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp

from mmprod.serving.canaries import Canary, difference
from mmprod.storage.errors import StateError


async def probe(
    session: aiohttp.ClientSession, address: str, canaries: Iterable[Canary], timeout: float
) -> None:
    """Send canaries to a server, one after the other. `timeout`: seconds per answer.

    Raises: StateError for the first answer that is wrong or missing.
    """
    for canary in canaries:
        try:
            status, body = await _send(session, address, canary, timeout)
        except TimeoutError:
            raise StateError(f"{canary.model} doesn't answer within {timeout:g} s") from None
        except aiohttp.ClientError as error:
            raise StateError(f"{canary.model} doesn't answer: {error!r}") from error
        if wrong := difference(canary, status, body):
            raise StateError(wrong)


def one_per_model(canaries: Iterable[Canary]) -> list[Canary]:
    """The first canary of each model: for the regular probes."""
    first: dict[str, Canary] = {}
    for canary in canaries:
        first.setdefault(canary.model, canary)
    return list(first.values())


async def _send(
    session: aiohttp.ClientSession, address: str, canary: Canary, timeout: float
) -> tuple[int, bytes]:
    url = f"http://{address}/v2/models/{canary.model}/infer"
    body = json.dumps(uncached(canary.request, time.monotonic_ns()))
    async with asyncio.timeout(timeout), session.post(url, data=body) as response:
        return response.status, await response.read()


def uncached(request: Mapping[str, Any], number: int) -> dict[str, Any]:
    """An equivalent request whose bytes depend on `number`, so that the model answers and not a cache.

    Titles get white space at their end, which their normal form drops; data URLs get another image type,
    which is not read.
    """
    inputs = [
        {**tensor, "data": [_varied(tensor["name"], value, number) for value in tensor["data"]]}
        for tensor in request["inputs"]
    ]
    return {**request, "inputs": inputs}


def _varied(name: str, value: Any, number: int) -> Any:
    if value and name.endswith("PICTURE"):
        return value.replace("data:image/", f"data:image/{number}.", 1)
    if value and name.endswith(("TITLE", "TEXT")):
        return value + f"{number:b}".replace("0", " ").replace("1", "\t")
    return value
