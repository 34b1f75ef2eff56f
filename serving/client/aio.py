"""The client for asyncio."""

import asyncio
from collections.abc import Sequence
from typing import Self

import aiohttp
import numpy as np

from mmprod.serving.client import calls
from mmprod.serving.client.calls import Call, Result
from mmprod.serving.client.http import base_url, infer_path, no_response, read_outputs
from mmprod.serving.client.retry import Deadline, Unavailable
from mmprod.serving.kserve import Outputs, Tensors, encode
from mmprod.serving.types import Product, SearchResult, Similarity
from mmprod.storage.errors import StateError


class AsyncClient:
    """`mmprod.serving.client.Client` for asyncio; sends up to `concurrency` parts of a long call in parallel.

    Create it and use it in the same event loop.
    """

    def __init__(
        self, address: str = "127.0.0.1:8000", deadline: float = 10.0, batch: int = 64, concurrency: int = 4
    ) -> None:
        """As for `Client`. Raises: RuntimeError if no event loop runs."""
        self.address, self.deadline, self.batch, self.concurrency = address, deadline, batch, concurrency
        # otherwise Triton compresses its responses, which costs more time than it saves
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
        """Whether the server reports that it is ready; asked once, without retries. Raises nothing."""
        try:
            async with self._session.get("/v2/health/ready", timeout=_total(self.deadline)) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError):  # a TimeoutError is an OSError
            return False

    async def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Titles to float32 [n, d] of unit length."""
        return await self._call(calls.titles(titles))

    async def pictures(self, pictures: Sequence[bytes]) -> np.ndarray:
        """Picture files to float32 [n, d] of unit length."""
        return await self._call(calls.pictures(pictures))

    async def products(self, products: Sequence[Product]) -> tuple[np.ndarray, np.ndarray]:
        """Image and text vectors of products given by content: float32 [n, d], zeros for what is missing."""
        return await self._call(calls.products(products))

    async def similarity(self, pairs: Sequence[tuple[Product, Product]], profile: str) -> list[Similarity]:
        """Compare the two products of each pair."""
        return await self._call(calls.similarity(pairs, profile))

    async def search(
        self, query: Product, k: int, profile: str, category: str | None = None, *, as_text: bool = False
    ) -> SearchResult:
        """The k products nearest to the query, without itself; with `as_text` its title is a search text."""
        return await self._call(calls.search(query, k, profile, category, as_text))

    async def infer(self, model: str, inputs: Tensors) -> Outputs:
        """Send tensors of int32 or objects (bytes) to a model in one request; its outputs by name."""
        return await self._send(model, inputs, Deadline(self.deadline))

    async def _call(self, call: Call[Result]) -> Result:
        parts, deadline = [*call.parts(self.batch)], Deadline(self.deadline)
        if len(parts) == 1:
            outputs = [await self._send(call.model, parts[0], deadline)]
        else:
            outputs = await self._send_all(call.model, parts, deadline)
        try:
            return call.result(outputs)
        except ValueError as error:
            raise StateError(f"{self.address}: {error}") from error

    async def _send_all(self, model: str, parts: Sequence[Tensors], deadline: Deadline) -> list[Outputs]:
        """The outputs of each part, in order. Raises: the first failure, and cancels the other parts."""
        parallel = asyncio.Semaphore(self.concurrency)

        async def send(part: Tensors) -> Outputs:
            async with parallel:
                return await self._send(model, part, deadline)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(send(part)) for part in parts]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _send(self, model: str, inputs: Tensors, deadline: Deadline) -> Outputs:
        while True:
            try:
                return await self._try(model, inputs, deadline.remaining)
            except Unavailable as failure:
                await asyncio.sleep(deadline.pause(failure))

    async def _try(self, model: str, inputs: Tensors, timeout: float) -> Outputs:
        body, headers = encode(inputs, timeout)
        request = self._session.post(
            infer_path(model),
            data=body, headers=headers, timeout=_total(timeout), allow_redirects=False,
        )  # fmt: skip
        try:
            async with request as response:
                content = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise no_response(self.address, error) from error
        return read_outputs(self.address, response.status, response.headers, content)


def _total(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)
