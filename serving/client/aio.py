"""The client for asyncio."""

import asyncio
from collections.abc import Sequence
from typing import Self

import aiohttp
import numpy as np

from mmprod.serving.client import requests
from mmprod.serving.client.http import base_url, outputs, path, unanswered
from mmprod.serving.client.requests import Ask, Found
from mmprod.serving.client.retry import Patience, Unavailable
from mmprod.serving.kserve import Outputs, Tensors, encode
from mmprod.serving.values import Answer, Compared, Product
from mmprod.storage.errors import StateError


class AsyncClient:
    """As `mmprod.serving.client.Client`, to await; parts of a long call are sent `at_once` at a time.

    To be made and used in one event loop.
    """

    def __init__(
        self, address: str = "127.0.0.1:8000", deadline: float = 10.0, batch: int = 64, at_once: int = 4
    ) -> None:
        """As for `Client`. Raises: RuntimeError where no event loop runs."""
        self.address, self.deadline, self.batch, self.at_once = address, deadline, batch, at_once
        # Triton would compress its answers, which costs more time than it saves
        headers = {"Accept-Encoding": "identity"}
        unlimited = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(base_url(address), headers=headers, connector=unlimited)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def ready(self) -> bool:
        """Whether the server says, at once, that it is ready. Raises nothing."""
        try:
            async with self._session.get("/v2/health/ready", timeout=_within(self.deadline)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError):  # a TimeoutError is an OSError
            return False

    async def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Titles to float32 [n, d] of unit length."""
        return await self._answer(requests.titles(titles))

    async def pictures(self, pictures: Sequence[bytes]) -> np.ndarray:
        """Files of pictures to float32 [n, d] of unit length."""
        return await self._answer(requests.pictures(pictures))

    async def products(self, products: Sequence[Product]) -> tuple[np.ndarray, np.ndarray]:
        """Image and text vectors of products by their content: float32 [n, d], zeros where there is none."""
        return await self._answer(requests.products(products))

    async def similarity(self, pairs: Sequence[tuple[Product, Product]], profile: str) -> list[Compared]:
        """Compare the two products of each pair."""
        return await self._answer(requests.similarity(pairs, profile))

    async def search(
        self, query: Product, k: int, profile: str, category: str | None = None, *, as_text: bool = False
    ) -> Answer:
        """The k products nearest to one, itself left out; with `as_text` those that its title describes."""
        return await self._answer(requests.search(query, k, profile, category, as_text))

    async def ask(self, model: str, inputs: Tensors) -> Outputs:
        """Send tensors, of int32 or of objects (bytes), to a model as they are; its outputs by name."""
        return await self._send(model, inputs, Patience(self.deadline))

    async def _answer(self, ask: Ask[Found]) -> Found:
        parts, patience = [*ask.parts(self.batch)], Patience(self.deadline)
        if len(parts) == 1:
            found = [await self._send(ask.model, parts[0], patience)]
        else:
            found = await self._send_all(ask.model, parts, patience)
        try:
            return ask.found(found)
        except ValueError as error:
            raise StateError(f"{self.address}: {error}") from error

    async def _send_all(self, model: str, parts: Sequence[Tensors], patience: Patience) -> list[Outputs]:
        """The outputs of each part, in order. Raises: the first failure, the other parts given up."""
        turns = asyncio.Semaphore(self.at_once)

        async def send(part: Tensors) -> Outputs:
            async with turns:
                return await self._send(model, part, patience)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(send(part)) for part in parts]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _send(self, model: str, inputs: Tensors, patience: Patience) -> Outputs:
        while True:
            try:
                return await self._try(model, inputs, patience.left)
            except Unavailable as failure:
                await asyncio.sleep(patience.pause(failure))

    async def _try(self, model: str, inputs: Tensors, left: float) -> Outputs:
        body, headers = encode(inputs, left)
        asked = self._session.post(
            path(model),
            data=body, headers=headers, timeout=_within(left), allow_redirects=False,
        )  # fmt: skip
        try:
            async with asked as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            raise unanswered(self.address, error) from error
        return outputs(self.address, answer.status, answer.headers, content)


def _within(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)
