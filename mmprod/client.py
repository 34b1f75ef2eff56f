"""A client of the online service over HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Self

import numpy as np

from mmprod.datasets.errors import StateError
from mmprod.serving.products import Product
from mmprod.serving.refused import Refused
from mmprod.serving.service import Answer, Compared

Tensors = Mapping[str, np.ndarray]


class Client:
    """Asks a server; the same calls and answers as `mmprod.serving.service.Service`.

    Raises, in every call: Refused for what the server finds wrong with a request, StateError where it
    can't be reached or fails.
    """

    def __init__(self, address: str = "127.0.0.1:8000", deadline: float = 10.0) -> None:
        """`deadline`: seconds that a call may take. Raises: StateError where tritonclient is missing."""
        try:
            import tritonclient.http as http
        except ModuleNotFoundError as error:
            raise StateError("the client needs tritonclient: pip install 'mmprod[serve]'") from error
        self.address, self._http = address, http
        self._client = http.InferenceServerClient(
            address, connection_timeout=deadline, network_timeout=deadline
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def ready(self) -> bool:
        """Whether every model says that it is ready, which doesn't prove that any answers."""
        try:
            return bool(self._client.is_server_ready())
        except (OSError, ValueError):
            return False

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Titles to float32 [n, d] of unit length."""
        return self.ask("text_encoder", {"TITLE": _column(titles)})["VECTOR"]

    def pictures(self, pictures: Sequence[bytes]) -> np.ndarray:
        """Files of pictures to float32 [n, d] of unit length."""
        return self.ask("image_encoder", {"PICTURE": _column(pictures)})["VECTOR"]

    def products(self, products: Sequence[Product]) -> tuple[np.ndarray, np.ndarray]:
        """Image and text vectors of products by their content: float32 [n, d], zeros where there is none."""
        titles, pictures = _column([p.title for p in products]), _column([p.picture for p in products])
        found = self.ask("product_encoder", {"TITLE": titles, "PICTURE": pictures})
        return found["IMAGE"], found["TEXT"]

    def similarity(self, pairs: Sequence[tuple[Product, Product]], profile: str) -> list[Compared]:
        """Compare the two products of each pair."""
        sides = {"A_": [a for a, _ in pairs], "B_": [b for _, b in pairs]}
        columns = {side + name: data for side in sides for name, data in _columns(sides[side]).items()}
        found = self.ask("pair_similarity", {**columns, "PROFILE": _column([profile] * len(pairs))})
        values = [found[field.name.upper()].reshape(-1).tolist() for field in fields(Compared)]
        return [Compared(*map(_plain, row)) for row in zip(*values, strict=True)]

    def search(
        self, query: Product, k: int, profile: str, category: str | None = None, *, as_text: bool = False
    ) -> Answer:
        """The k products nearest to one, itself left out; with `as_text` those that its title describes."""
        asked = {"TEXT": _column([query.title])} if as_text else _columns([query])
        asked["PROFILE"] = _column([profile])
        if category:
            asked["FILTER"] = _column([category])
        flat = {name: column.reshape(-1) for name, column in asked.items()}  # this model has no batches
        found = self.ask("product_search", {**flat, "K": np.array([k], np.int32)})
        ids = [_plain(name) for name in found["PRODUCT_ID"].tolist()]
        generation, encoder = (_plain(found[name][0]) for name in ("GENERATION", "ENCODER"))
        return Answer(ids, found["SCORE"], found["IMAGE_SCORE"], found["TEXT_SCORE"], generation, encoder)

    def ask(self, model: str, inputs: Tensors) -> dict[str, np.ndarray]:
        """Send tensors to a model as they are; its outputs by name."""
        tensors = []
        for name, data in inputs.items():
            kind = "INT32" if data.dtype == np.int32 else "BYTES"
            tensors.append(self._http.InferInput(name, data.shape, kind))
            tensors[-1].set_data_from_numpy(data)
        with self._failures():
            answer = self._client.infer(model, tensors)
            return {
                output["name"]: answer.as_numpy(output["name"]) for output in answer.get_response()["outputs"]
            }

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """The client library's errors as ours."""
        from tritonclient.utils import InferenceServerException

        try:
            yield
        except InferenceServerException as error:
            if refused := Refused.parse(str(error)):
                raise refused from error
            if error.status() == "400":  # Triton's own: a tensor too many, a batch too large
                raise Refused("bad_request", str(error.message())) from error
            raise StateError(f"{self.address}: {error}") from error
        except (OSError, ValueError) as error:  # gevent's and geventhttpclient's
            raise StateError(f"{self.address} can't be reached: {error}") from error


def _columns(products: Sequence[Product]) -> dict[str, np.ndarray]:
    """The inputs that describe products, without those that none of them has; one, though, always."""
    columns: dict[str, list[str] | list[bytes]] = {
        "ID": [p.product_id for p in products],
        "TITLE": [p.title for p in products],
        "PICTURE": [p.picture for p in products],
        "CATEGORY": [p.category for p in products],
    }
    given = {name: _column(items) for name, items in columns.items() if any(items)}
    return given or {"ID": _column(columns["ID"])}


def _column(items: Sequence[str | bytes]) -> np.ndarray:
    return np.array(_bytes(items), np.object_).reshape(-1, 1)


def _bytes(items: Sequence[str | bytes]) -> list[bytes]:
    return [item.encode() if isinstance(item, str) else item for item in items]


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
