"""The client for threads."""

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import urllib3

from mmprod.serving.client import requests
from mmprod.serving.client.http import base_url, outputs, path, unanswered
from mmprod.serving.client.region import Region
from mmprod.serving.client.requests import Ask, Found
from mmprod.serving.client.retry import Patience, Unavailable
from mmprod.serving.kserve import Outputs, Tensors, encode
from mmprod.serving.values import Answer, Compared, Product
from mmprod.storage.errors import StateError

_KEPT = 64  # connections, at most one for each thread that asks
_GIVEN_UP = 504  # after this, as after no answer, a model may still read the shared memory: it stays taken
_FAREWELL = 1.0  # seconds for a server to forget the shared memory
_PIECE = 1 << 16  # bytes of an answer, between looks at the clock

Response = tuple[int, Mapping[str, str], bytes]  # status, headers, body


class Client:
    """Asks a server; the calls and answers of `mmprod.serving.service.Service`. For any number of threads.

    What is longer than `batch`, or has many bytes, is sent in parts, one after the other. While the server is
    overloaded or gives no answer, a call is tried again until its deadline: no request changes anything.

    Raises, in every call: Refused for what the server finds wrong with a request, StateError where it fails
    or gives no answer before the deadline.
    """

    def __init__(
        self, address: str = "127.0.0.1:8000", deadline: float = 10.0, batch: int = 64, shared_memory: int = 0
    ) -> None:
        """`address`: host and port, or a URL. `deadline`: seconds that a call may take. `batch`: rows sent at
        once, at most the server's `serving.batch`. `shared_memory`: bytes through which large inputs go to a
        server on this machine that has `serving.shared_memory`; 0 for none.

        Raises: InputError for what is no address, StateError where the machine lacks the memory.
        """
        self.address, self.deadline, self.batch = address, deadline, batch
        self._pool = urllib3.connection_from_url(base_url(address), maxsize=_KEPT)
        self._region = Region(shared_memory) if shared_memory else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, give back the shared memory."""
        if self._region:
            with contextlib.suppress(StateError):
                self._post(self._region.path("unregister"), b"", {}, Patience(_FAREWELL))
            self._region.close()
            self._region = None
        self._pool.close()

    def ready(self) -> bool:
        """Whether the server says, at once, that it is ready. Raises nothing."""
        try:
            answer = self._pool.request("GET", "/v2/health/ready", timeout=self.deadline, retries=False)
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status == 200

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Titles to float32 [n, d] of unit length."""
        return self._answer(requests.titles(titles))

    def pictures(self, pictures: Sequence[bytes]) -> np.ndarray:
        """Files of pictures to float32 [n, d] of unit length."""
        return self._answer(requests.pictures(pictures))

    def products(self, products: Sequence[Product]) -> tuple[np.ndarray, np.ndarray]:
        """Image and text vectors of products by their content: float32 [n, d], zeros where there is none."""
        return self._answer(requests.products(products))

    def similarity(self, pairs: Sequence[tuple[Product, Product]], profile: str) -> list[Compared]:
        """Compare the two products of each pair."""
        return self._answer(requests.similarity(pairs, profile))

    def search(
        self, query: Product, k: int, profile: str, category: str | None = None, *, as_text: bool = False
    ) -> Answer:
        """The k products nearest to one, itself left out; with `as_text` those that its title describes."""
        return self._answer(requests.search(query, k, profile, category, as_text))

    def ask(self, model: str, inputs: Tensors) -> Outputs:
        """Send tensors, of int32 or of objects (bytes), to a model as they are; its outputs by name."""
        return self._send(model, inputs, Patience(self.deadline))

    def _answer(self, ask: Ask[Found]) -> Found:
        patience = Patience(self.deadline)
        parts = [self._send(ask.model, part, patience) for part in ask.parts(self.batch)]
        try:
            return ask.found(parts)
        except ValueError as error:
            raise StateError(f"{self.address}: {error}") from error

    def _send(self, model: str, inputs: Tensors, patience: Patience) -> Outputs:
        while True:
            try:
                return self._try(model, inputs, patience)
            except Unavailable as failure:
                time.sleep(patience.pause(failure))

    def _try(self, model: str, inputs: Tensors, patience: Patience) -> Outputs:
        left = patience.left
        region = self._region.take() if self._region else None
        body, headers = encode(inputs, left, region)
        status, said, content = self._post(path(model), body, headers, patience)
        if region and status != _GIVEN_UP:
            region.give_back()
            if region.unknown_to(status, content):
                self._register(region, patience)
        return outputs(self.address, status, said, content)

    def _register(self, region: Region, patience: Patience) -> None:
        """Tell the server of the region, first and after each reload. Raises: Unavailable, to ask again."""
        body = json.dumps(region.registration).encode()
        status, _, told = self._post(region.path("register"), body, {}, patience)
        if status == 200:
            raise Unavailable(f"{self.address} did not know the shared memory {region.name}")
        cure = "set serving.shared_memory there, or leave it out here"
        raise StateError(f"{self.address} takes no shared memory ({status} {told!r}): {cure}")

    def _post(self, path: str, body: bytes, headers: Mapping[str, str], patience: Patience) -> Response:
        try:
            answer = self._pool.request(
                "POST", path, body=body, headers=headers, timeout=patience.left, retries=False,
                preload_content=False,
            )  # fmt: skip
            with answer:
                return answer.status, answer.headers, _read(answer, patience)
        except urllib3.exceptions.HTTPError as error:
            raise unanswered(self.address, error) from error


def _read(answer: urllib3.BaseHTTPResponse, patience: Patience) -> bytes:
    """The body, unless it drips in for longer than there is time. Raises: StateError."""
    content = bytearray()
    while piece := answer.read1(_PIECE):
        content += piece
        patience.check()
    return bytes(content)
