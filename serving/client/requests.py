"""What each call sends and how its answer is read, the same for every client. No network here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import numpy as np

from mmprod.serving.kserve import Tensors
from mmprod.serving.refused import Refused
from mmprod.serving.values import Answer, Compared, Product

Found = TypeVar("Found")

BYTES = 16 << 20
"""Of pictures and texts in one request, where more than one row is sent; half of what a server accepts."""


@dataclass(frozen=True)
class Ask(Generic[Found]):
    """A question to a model: `inputs` have a row for each thing asked about; `read` takes all outputs."""

    model: str
    inputs: Tensors
    read: Callable[[Tensors], Found]

    def parts(self, batch: int) -> Iterator[Tensors]:
        """The inputs in parts of at most `batch` rows and, unless it is a single row, BYTES."""
        start, total = 0, 0
        for row, size in enumerate(self._sizes()):
            if row > start and (row - start == batch or total + size > BYTES):
                yield self._rows(start, row)
                start, total = row, 0
            total += size
        yield self._rows(start, None)

    def found(self, parts: Sequence[Tensors]) -> Found:
        """What the outputs of all parts, in order, say. Raises: ValueError where they don't fit."""
        try:
            outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            return self.read(outputs)
        except (KeyError, AttributeError, IndexError) as error:
            raise ValueError(f"{self.model} answers without what was asked for: {error!r}") from error

    def _rows(self, start: int, stop: int | None) -> Tensors:
        return {name: data[start:stop] for name, data in self.inputs.items()}

    def _sizes(self) -> list[int]:
        """Bytes of each row."""
        texts = [data.reshape(-1) for data in self.inputs.values() if data.dtype == np.object_]
        return [sum(map(len, row)) for row in zip(*texts, strict=True)]


def titles(titles: Sequence[str]) -> Ask[np.ndarray]:
    """Vectors of titles."""
    asked = {"TITLE": _column(titles)}
    return Ask("text_encoder", asked, lambda found: _aligned(found["VECTOR"], titles))


def pictures(pictures: Sequence[bytes]) -> Ask[np.ndarray]:
    """Vectors of files of pictures."""
    asked = {"PICTURE": _column(pictures)}
    return Ask("image_encoder", asked, lambda found: _aligned(found["VECTOR"], pictures))


def products(products: Sequence[Product]) -> Ask[tuple[np.ndarray, np.ndarray]]:
    """Image and text vectors of products by their content."""
    asked = {"TITLE": _column([p.title for p in products]), "PICTURE": _column([p.picture for p in products])}

    def read(found: Tensors) -> tuple[np.ndarray, np.ndarray]:
        return _aligned(found["IMAGE"], products), _aligned(found["TEXT"], products)

    return Ask("product_encoder", asked, read)


def similarity(pairs: Sequence[tuple[Product, Product]], profile: str) -> Ask[list[Compared]]:
    """How alike the two products of each pair are."""
    sides = {"A_": [a for a, _ in pairs], "B_": [b for _, b in pairs]}
    columns = {side + name: data for side in sides for name, data in _columns(sides[side]).items()}

    def read(found: Tensors) -> list[Compared]:
        columns = [_aligned(found[field.name.upper()], pairs).reshape(-1) for field in fields(Compared)]
        return [Compared(*map(_plain, row)) for row in zip(*(c.tolist() for c in columns), strict=True)]

    return Ask("pair_similarity", {**columns, "PROFILE": _column([profile] * len(pairs))}, read)


def search(query: Product, k: int, profile: str, category: str | None, as_text: bool) -> Ask[Answer]:
    """The k products nearest to one, or those that its title describes."""
    asked = {"TEXT": _column([query.title])} if as_text else _columns([query])
    asked["PROFILE"] = _column([profile])
    if category:
        asked["FILTER"] = _column([category])
    flat = {name: column.reshape(-1) for name, column in asked.items()}  # this model has no batches

    def read(found: Tensors) -> Answer:
        ids = [_plain(name) for name in found["PRODUCT_ID"].tolist()]
        score, image, text = (_aligned(found[f"{name}SCORE"], ids) for name in ("", "IMAGE_", "TEXT_"))
        generation, encoder = (_plain(found[name][0]) for name in ("GENERATION", "ENCODER"))
        return Answer(ids, score, image, text, generation, encoder)

    return Ask("product_search", {**flat, "K": np.array([k], np.int32)}, read)


def _aligned(array: np.ndarray, rows: Sequence[Any]) -> np.ndarray:
    if len(array) != len(rows):
        raise ValueError(f"{len(array)} rows came back for {len(rows)}")
    return array


def _columns(products: Sequence[Product]) -> dict[str, np.ndarray]:
    """The inputs that describe products, without those that none of them has; one, though, always."""
    columns: Mapping[str, Sequence[str | bytes]] = {
        "ID": [p.product_id for p in products],
        "TITLE": [p.title for p in products],
        "PICTURE": [p.picture for p in products],
        "CATEGORY": [p.category for p in products],
    }
    given = {name: _column(items) for name, items in columns.items() if any(items)}
    return given or {"ID": _column(columns["ID"])}


def _column(items: Sequence[str | bytes]) -> np.ndarray:
    """Texts and files as a tensor of strings [n, 1]. Raises: Refused when there are none, or no UTF-8."""
    if not items:
        raise Refused("empty", "nothing was sent")
    column = np.empty((len(items), 1), np.object_)
    try:
        column[:, 0] = [item.encode() if isinstance(item, str) else item for item in items]
    except UnicodeEncodeError as error:
        raise Refused("bad_text", f"half a character can't be sent: {error}") from error
    return column


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
