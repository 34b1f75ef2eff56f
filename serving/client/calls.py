"""The inputs that each call of a client sends, and how it reads the outputs. No network here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import numpy as np

from mmprod.serving.errors import Refused
from mmprod.serving.kserve import Tensors
from mmprod.serving.types import Product, SearchResult, Similarity

Result = TypeVar("Result")

BYTES = 16 << 20
"""Most bytes of pictures and texts in a request of several rows; half of what a server accepts."""


@dataclass(frozen=True)
class Call(Generic[Result]):
    """A call of a model: `inputs` with one row per item; `read` makes the result from the outputs."""

    model: str
    inputs: Tensors
    read: Callable[[Tensors], Result]

    def parts(self, batch: int) -> Iterator[Tensors]:
        """The inputs in parts of at most `batch` rows and, except for single rows, at most BYTES."""
        start, total = 0, 0
        for row, size in enumerate(self._sizes()):
            if row > start and (row - start == batch or total + size > BYTES):
                yield self._rows(start, row)
                start, total = row, 0
            total += size
        yield self._rows(start, None)

    def result(self, parts: Sequence[Tensors]) -> Result:
        """The result from the outputs of all parts, in order. Raises: ValueError for invalid outputs."""
        try:
            outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            return self.read(outputs)
        except (KeyError, AttributeError, IndexError) as error:
            raise ValueError(f"the answer of {self.model} lacks outputs: {error!r}") from error

    def _rows(self, start: int, stop: int | None) -> Tensors:
        return {name: data[start:stop] for name, data in self.inputs.items()}

    def _sizes(self) -> list[int]:
        """Bytes of each row."""
        texts = [data.reshape(-1) for data in self.inputs.values() if data.dtype == np.object_]
        return [sum(map(len, row)) for row in zip(*texts, strict=True)]


def titles(titles: Sequence[str]) -> Call[np.ndarray]:
    """Vectors of titles."""
    inputs = {"TITLE": _column(titles)}
    return Call("text_encoder", inputs, lambda outputs: _aligned(outputs["VECTOR"], titles))


def pictures(pictures: Sequence[bytes]) -> Call[np.ndarray]:
    """Vectors of picture files."""
    inputs = {"PICTURE": _column(pictures)}
    return Call("image_encoder", inputs, lambda outputs: _aligned(outputs["VECTOR"], pictures))


def products(products: Sequence[Product]) -> Call[tuple[np.ndarray, np.ndarray]]:
    """Image and text vectors of products given by content."""
    inputs = {
        "TITLE": _column([p.title for p in products]),
        "PICTURE": _column([p.picture for p in products]),
    }

    def read(outputs: Tensors) -> tuple[np.ndarray, np.ndarray]:
        return _aligned(outputs["IMAGE"], products), _aligned(outputs["TEXT"], products)

    return Call("product_encoder", inputs, read)


def similarity(pairs: Sequence[tuple[Product, Product]], profile: str) -> Call[list[Similarity]]:
    """The similarity of the two products of each pair."""
    sides = {"A_": [a for a, _ in pairs], "B_": [b for _, b in pairs]}
    columns = {side + name: data for side in sides for name, data in _columns(sides[side]).items()}

    def read(outputs: Tensors) -> list[Similarity]:
        columns = [_aligned(outputs[field.name.upper()], pairs).reshape(-1) for field in fields(Similarity)]
        return [Similarity(*map(_plain, row)) for row in zip(*(c.tolist() for c in columns), strict=True)]

    return Call("pair_similarity", {**columns, "PROFILE": _column([profile] * len(pairs))}, read)


def search(query: Product, k: int, profile: str, category: str | None, as_text: bool) -> Call[SearchResult]:
    """The k products nearest to the query product, or with `as_text` to its title as a search text."""
    inputs = {"TEXT": _column([query.title])} if as_text else _columns([query])
    inputs["PROFILE"] = _column([profile])
    if category:
        inputs["FILTER"] = _column([category])
    flat = {name: column.reshape(-1) for name, column in inputs.items()}  # this model has no batches

    def read(outputs: Tensors) -> SearchResult:
        ids = [_plain(name) for name in outputs["PRODUCT_ID"].tolist()]
        score, image, text = (_aligned(outputs[f"{name}SCORE"], ids) for name in ("", "IMAGE_", "TEXT_"))
        generation, encoder = (_plain(outputs[name][0]) for name in ("GENERATION", "ENCODER"))
        return SearchResult(ids, score, image, text, generation, encoder)

    return Call("product_search", {**flat, "K": np.array([k], np.int32)}, read)


def _aligned(array: np.ndarray, rows: Sequence[Any]) -> np.ndarray:
    if len(array) != len(rows):
        raise ValueError(f"the answer has {len(array)} rows for {len(rows)} items")
    return array


def _columns(products: Sequence[Product]) -> dict[str, np.ndarray]:
    """The inputs that describe products, without columns that are empty; at least ID is sent."""
    columns: Mapping[str, Sequence[str | bytes]] = {
        "ID": [p.product_id for p in products],
        "TITLE": [p.title for p in products],
        "PICTURE": [p.picture for p in products],
        "CATEGORY": [p.category for p in products],
    }
    given = {name: _column(items) for name, items in columns.items() if any(items)}
    return given or {"ID": _column(columns["ID"])}


def _column(items: Sequence[str | bytes]) -> np.ndarray:
    """Texts and files as a tensor of strings [n, 1]. Raises: Refused for no items, or for invalid Unicode."""
    if not items:
        raise Refused("empty", "nothing was sent")
    column = np.empty((len(items), 1), np.object_)
    try:
        column[:, 0] = [item.encode() if isinstance(item, str) else item for item in items]
    except UnicodeEncodeError as error:
        raise Refused("bad_text", f"half of a surrogate pair can't be sent: {error}") from error
    return column


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
