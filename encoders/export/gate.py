"""The gate before an engine is published: each tower's vectors and search results against torch's."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from mmprod.encoders.clip import Encoder
from mmprod.encoders.export.engine import Engine
from mmprod.encoders.export.inputs import Inputs, pixels, tokens
from mmprod.encoders.export.spec import Tower

K = 10
BATCHES = ((1, 16), (7, 70), (64, None))  # batch size, and the number of inputs tested with it
_CLOSE = 1e-6  # torch scores that differ by less count as equal


@dataclass(frozen=True)
class Limits:
    """The least values that pass: the worst cosine of any input, and recall@10 of each search."""

    cosine: float
    recall: float


@dataclass(frozen=True)
class Check:
    """One condition on a tower: `value` must reach `limit`.

    `worst` names the input with the worst result; empty if all are equal.
    """

    tower: Tower
    name: str
    value: float
    limit: float
    worst: str

    @property
    def ok(self) -> bool:
        return self.value >= self.limit

    def __str__(self) -> str:
        return (
            f"{self.tower} tower: {self.name} {self.value:.9g}, limit {self.limit}, worst at {self.worst!r}"
        )


@dataclass(frozen=True)
class Report:
    """All checks of all towers of an engine."""

    checks: tuple[Check, ...]

    @property
    def refused(self) -> tuple[Check, ...]:
        """The failed checks; empty if the engine passes."""
        return tuple(check for check in self.checks if not check.ok)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: {"passed": …, "checks": [{"tower", "name", "value", …}, …]}."""
        return {"passed": not self.refused, "checks": [asdict(check) for check in self.checks]}


@dataclass(frozen=True)
class Truth:
    """The reference vectors of the inputs by torch in fp32: float32 [n, d].

    Pictures go through the encoder's own transform. Titles are padded to the whole context window, so that
    the comparison also tests trimming.
    """

    inputs: Inputs
    image: np.ndarray
    text: np.ndarray

    @classmethod
    def of(cls, encoder: Encoder, inputs: Inputs) -> "Truth":
        """Encode every picture and title, in batches of 64."""
        size = BATCHES[-1][0]
        image = [encoder.pictures(part) for part in _parts(inputs.pictures, size)]
        text = [_padded(encoder, part) for part in _parts(inputs.titles, size)]
        return cls(inputs, np.concatenate(image), np.concatenate(text))


def _padded(encoder: Encoder, titles: Sequence[str]) -> np.ndarray:
    ids = torch.from_numpy(tokens(encoder, titles)).to(encoder.device)
    with torch.inference_mode():
        return encoder.model.encode_text(ids, normalize=True).float().cpu().numpy()  # type: ignore[operator, no-any-return]


def gate(engine: Engine, encoder: Encoder, truth: Truth, limits: Limits) -> Report:
    """Run an engine on the inputs in batches of 1, 7 and 64, titles trimmed to each batch's longest.

    Checks of each tower: the worst cosine, over inputs and batch sizes, between the engine's vector and
    torch's; and recall@10 of exact search with the engine's vectors against torch's. The searches are text →
    picture, with the other tower's vectors by torch, and picture → picture or text → text, without the query
    itself. A hit is right if its true score reaches the tenth best, so equal inputs are interchangeable. A
    vector that is not finite or not of unit length counts as cosine -1.
    """
    checks: list[Check] = []
    for tower in engine.spec.towers:
        if tower == "image":
            seen = pixels(encoder, truth.inputs.pictures)
            checks += _image_checks(*_compare(engine.pictures, seen, truth.image), truth, limits)
        else:
            ids = tokens(encoder, truth.inputs.titles)
            checks += _text_checks(*_compare(engine.trimmed_titles, ids, truth.text), truth, limits)
    return Report(tuple(checks))


def _image_checks(vectors: np.ndarray, cosines: np.ndarray, truth: Truth, limits: Limits) -> Iterator[Check]:
    pictures, titles = truth.inputs.names, truth.inputs.titles
    yield _check("image", "cosine", cosines, cosines.min(), limits.cosine, pictures)
    found = recall(truth.text @ truth.image.T, truth.text @ vectors.T)
    yield _check("image", f"text → picture recall@{K}", found, found.mean(), limits.recall, titles)
    found = recall(_others(truth.image @ truth.image.T), _others(vectors @ vectors.T))
    yield _check("image", f"picture → picture recall@{K}", found, found.mean(), limits.recall, pictures)


def _text_checks(vectors: np.ndarray, cosines: np.ndarray, truth: Truth, limits: Limits) -> Iterator[Check]:
    titles = truth.inputs.titles
    yield _check("text", "cosine", cosines, cosines.min(), limits.cosine, titles)
    found = recall(truth.text @ truth.image.T, vectors @ truth.image.T)
    yield _check("text", f"text → picture recall@{K}", found, found.mean(), limits.recall, titles)
    found = recall(_others(truth.text @ truth.text.T), _others(vectors @ vectors.T))
    yield _check("text", f"text → text recall@{K}", found, found.mean(), limits.recall, titles)


def _check(
    tower: Tower, name: str, each: np.ndarray, value: float, limit: float, names: tuple[str, ...]
) -> Check:
    worst = names[int(each.argmin())][:80] if each.min() < each.max() else ""
    return Check(tower, name, float(value), limit, worst)


def recall(true: np.ndarray, scores: np.ndarray, k: int = K) -> np.ndarray:
    """For each query the share of its k best by `scores` among its k best by `true`; both [queries, base]."""
    k = min(k, true.shape[1])
    found = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    tenth = np.partition(true, -k, axis=1)[:, -k, None]
    right: np.ndarray = (np.take_along_axis(true, found, 1) >= tenth - _CLOSE).mean(axis=1)
    return right


def _others(scores: np.ndarray) -> np.ndarray:
    """Scores of a set with itself; sets each input's score with itself to -inf."""
    np.fill_diagonal(scores, -np.inf)
    return scores


def _compare(
    run: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray, true: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The engine's vectors [n, d] and each input's worst cosine [n] over all batch sizes."""
    worst = np.ones(len(inputs))
    for size, count in BATCHES:
        vectors = np.concatenate([run(part) for part in _parts(inputs[:count], size)])
        usable = np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3  # NaN is not
        cosines = np.einsum("nd,nd->n", vectors, true[: len(vectors)], dtype=np.float64)
        worst[: len(vectors)] = np.minimum(worst[: len(vectors)], np.where(usable, cosines, -1))
    return np.nan_to_num(vectors), worst


def _parts(items: Any, size: int) -> Iterator[Any]:
    return (items[start : start + size] for start in range(0, len(items), size))
