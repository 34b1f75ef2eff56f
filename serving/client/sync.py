"""The client for threads."""

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import urllib3

from mmprod.serving.client import calls
from mmprod.serving.client.calls import Call, Result
from mmprod.serving.client.http import base_url, infer_path, no_response, read_outputs
from mmprod.serving.client.retry import Deadline, Unavailable
from mmprod.serving.client.shared_memory import Region
from mmprod.serving.kserve import Outputs, Tensors, encode
from mmprod.serving.types import Product, SearchResult, Similarity
from mmprod.storage.errors import StateError

_CONNECTIONS = 64  # kept open; one per thread is used
_TIMED_OUT = 504  # then, as without a response, a model may still read the shared memory: it stays in use
_UNREGISTER = 1.0  # seconds for a server to unregister the shared memory
_PIECE = 1 << 16  # bytes of a response that are read before the deadline is checked

Response = tuple[int, Mapping[str, str], bytes]  # status, headers, body


class Client:
    """A client with the methods of `mmprod.serving.service.Service`. Thread-safe.

    Inputs longer than `batch`, or with many bytes, are sent in parts, one after the other. If the server is
    overloaded or does not answer, a call is retried until its deadline; that is safe, because no request
    changes anything.

    Every call raises Refused for a bad request, and StateError if the server fails or does not answer before
    the deadline.
    """

    def __init__(
        self, address: str = "127.0.0.1:8000", deadline: float = 10.0, batch: int = 64, shared_memory: int = 0
    ) -> None:
        """`address`: host and port, or a URL. `deadline`: seconds that a call may take. `batch`: rows of a
        request, at most the server's `serving.batch`. `shared_memory`: bytes of shared memory for large
        inputs, if the server is on this machine and has `serving.shared_memory`; 0 for none.

        Raises: InputError for an invalid address, StateError if there is not enough shared memory.
        """
        self.address, self.deadline, self.batch = address, deadline, batch
        self._pool = urllib3.connection_from_url(base_url(address), maxsize=_CONNECTIONS)
        self._region = Region(shared_memory) if shared_memory else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and remove the shared memory."""
        if self._region:
            with contextlib.suppress(StateError):
                self._post(self._region.path("unregister"), b"", {}, Deadline(_UNREGISTER))
            self._region.close()
            self._region = None
        self._pool.close()

    def ready(self) -> bool:
        """Whether the server reports that it is ready; asked once, without retries. Raises nothing."""
        try:
            response = self._pool.request("GET", "/v2/health/ready", timeout=self.deadline, retries=False)
        except urllib3.exceptions.HTTPError:
            return False
        return response.status == 200

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Titles to float32 [n, d] of unit length."""
        return self._call(calls.titles(titles))

    def pictures(self, pictures: Sequence[bytes]) -> np.ndarray:
        """Picture files to float32 [n, d] of unit length."""
        return self._call(calls.pictures(pictures))

    def products(self, products: Sequence[Product]) -> tuple[np.ndarray, np.ndarray]:
        """Image and text vectors of products given by content: float32 [n, d], zeros for what is missing."""
        return self._call(calls.products(products))

    def similarity(self, pairs: Sequence[tuple[Product, Product]], profile: str) -> list[Similarity]:
        """Compare the two products of each pair."""
        return self._call(calls.similarity(pairs, profile))

    def search(
        self, query: Product, k: int, profile: str, category: str | None = None, *, as_text: bool = False
    ) -> SearchResult:
        """The k products nearest to the query, without itself; with `as_text` its title is a search text."""
        return self._call(calls.search(query, k, profile, category, as_text))

    def infer(self, model: str, inputs: Tensors) -> Outputs:
        """Send tensors of int32 or objects (bytes) to a model in one request; its outputs by name."""
        return self._send(model, inputs, Deadline(self.deadline))

    def _call(self, call: Call[Result]) -> Result:
        deadline = Deadline(self.deadline)
        parts = [self._send(call.model, part, deadline) for part in call.parts(self.batch)]
        try:
            return call.result(parts)
        except ValueError as error:
            raise StateError(f"{self.address}: {error}") from error

    def _send(self, model: str, inputs: Tensors, deadline: Deadline) -> Outputs:
        while True:
            try:
                return self._try(model, inputs, deadline)
            except Unavailable as failure:
                time.sleep(deadline.pause(failure))

    def _try(self, model: str, inputs: Tensors, deadline: Deadline) -> Outputs:
        timeout = deadline.remaining
        region = self._region.take() if self._region else None
        body, headers = encode(inputs, timeout, region)
        status, response_headers, content = self._post(infer_path(model), body, headers, deadline)
        if region and status != _TIMED_OUT:
            region.give_back()
            if region.unknown_to(status, content):
                self._register(region, deadline)
        return read_outputs(self.address, status, response_headers, content)

    def _register(self, region: Region, deadline: Deadline) -> None:
        """Register the region with the server, first and after each reload. Raises: Unavailable, to retry."""
        body = json.dumps(region.registration).encode()
        status, _, reason = self._post(region.path("register"), body, {}, deadline)
        if status == 200:
            raise Unavailable(f"{self.address} did not know the shared memory {region.name}")
        cure = "set serving.shared_memory on the server, or don't use shared_memory in the client"
        raise StateError(f"{self.address} refuses shared memory ({status} {reason!r}): {cure}")

    def _post(self, path: str, body: bytes, headers: Mapping[str, str], deadline: Deadline) -> Response:
        try:
            response = self._pool.request(
                "POST", path, body=body, headers=headers, timeout=deadline.remaining, retries=False,
                preload_content=False,
            )  # fmt: skip
            with response:
                return response.status, response.headers, _read(response, deadline)
        except urllib3.exceptions.HTTPError as error:
            raise no_response(self.address, error) from error


def _read(response: urllib3.BaseHTTPResponse, deadline: Deadline) -> bytes:
    """The body. Raises: StateError if it is not complete before the deadline."""
    content = bytearray()
    while piece := response.read1(_PIECE):
        content += piece
        deadline.check()
    return bytes(content)
