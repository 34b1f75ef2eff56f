"""The models of the Triton repository. Importable inside Triton's Python backend only."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmprod.encoders.export.spec import Spec, Tower
from mmprod.serving.composed import ComposedEncoding
from mmprod.serving.encoding import LocalEncoding, check_count
from mmprod.serving.products import Product, encode_products
from mmprod.serving.refused import Refused
from mmprod.serving.release import Release
from mmprod.serving.service import Compared, Service
from mmprod.serving.tensors import read_bytes, read_number, read_products, read_texts, refusal, response
from mmprod.serving.together import together

RELEASE = "MMPROD_RELEASE"
"""Environment variable: the folder of the release to serve."""


class EncoderModel:
    """One tower. All requests that Triton batches go through it together."""

    tower: ClassVar[Tower]

    def initialize(self, args: dict[str, str]) -> None:
        """Open the release's engine and send one value through it."""
        release = _release()
        threads = int(json.loads(args["model_config"])["parameters"]["threads"]["string_value"])
        gpu = args["model_instance_kind"] == "GPU"
        device = f"cuda:{args['model_instance_device_id']}" if gpu else "cpu"
        self.encoding = LocalEncoding(release.engine, release.limits, device, threads, [self.tower])
        self.encoding.warm_up(self.tower)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request, a refusal where its input can't be used."""
        return _each(requests, self._read, self._encode, self._respond)

    def _read(self, request: Any) -> Sequence[Any]:
        return (
            read_texts(request, "TITLE") if self.tower == "text" else read_bytes(request, "PICTURE")
        ) or []

    def _encode(self, items: Sequence[Any]) -> Sequence[Any]:
        return list(self.encoding.titles(items) if self.tower == "text" else self.encoding.pictures(items))

    def _respond(self, vectors: Sequence[Any]) -> Any:
        return response(VECTOR=np.stack(vectors), ENCODER=[self.encoding.fingerprint] * len(vectors))


class ProductModel:
    """Both towers, by the encoder models of this server."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the release."""
        self.release = _release()
        self.encoding = _composed(self.release)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request, a refusal where its input can't be used."""
        return _each(requests, read_products, self._encode, self._respond)

    def _encode(self, products: Sequence[Product]) -> Sequence[Any]:
        check_count(len(products), self.release.limits)
        for product in products:
            product.check()
        return list(zip(*encode_products(self.encoding, products), strict=True))

    def _respond(self, vectors: Sequence[Any]) -> Any:
        image, text = (np.stack(half) for half in zip(*vectors, strict=True))
        return response(IMAGE=image, TEXT=text, ENCODER=[self.encoding.fingerprint] * len(vectors))


class SimilarityModel:
    """Pairs of products. What no index holds goes through the encoder models of this server."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the release's indexes, every file verified."""
        release = _release()
        self.service = Service(release, _composed(release))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request, a refusal where its input can't be used."""
        return _each(requests, self._read, self._compare, self._respond)

    @staticmethod
    def _read(request: Any) -> Sequence[tuple[str, Product, Product]]:
        profiles, first, second = read_texts(request, "PROFILE"), *_sides(request)
        if not len(profiles or []) == len(first) == len(second):
            counts = f"{len(profiles or [])} profiles, {len(first)} and {len(second)} products"
            raise Refused("lengths", f"{counts}: want one of each a pair")
        return list(zip(profiles or [], first, second, strict=True))

    def _compare(self, pairs: Sequence[tuple[str, Product, Product]]) -> Sequence[Compared]:
        found: dict[int, Compared] = {}
        for profile in dict.fromkeys(profile for profile, _, _ in pairs):
            rows = [row for row, pair in enumerate(pairs) if pair[0] == profile]
            compared = self.service.similarity([pairs[row][1:] for row in rows], profile)
            found |= dict(zip(rows, compared, strict=True))
        return [found[row] for row in range(len(pairs))]

    @staticmethod
    def _respond(found: Sequence[Compared]) -> Any:
        names = [field.name for field in fields(Compared)]
        return response(**{name.upper(): [getattr(one, name) for one in found] for name in names})


class SearchModel:
    """The nearest products of an index."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the release's indexes, every file verified."""
        release = _release()
        self.service = Service(release, _composed(release))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request, a refusal where its input can't be used."""
        found = []
        for request in requests:
            try:
                found.append(self._answer(request))
            except Refused as refused:
                found.append(refusal(refused))
        return found

    def _answer(self, request: Any) -> Any:
        text, profile, category = (_one(read_texts(request, name)) for name in ("TEXT", "PROFILE", "FILTER"))
        products = read_products(request)
        if (text is not None) == bool(products):
            raise Refused("ambiguous", "send either TEXT, or one product as ID or TITLE and PICTURE")
        query = Product(title=text) if text is not None else _one(products) or Product()
        k = read_number(request, "K")
        answer = self.service.search(query, k, profile or "", category or None, as_text=text is not None)
        return response(
            PRODUCT_ID=np.array([name.encode() for name in answer.product_ids], np.object_),
            SCORE=answer.scores,
            IMAGE_SCORE=answer.image_scores,
            TEXT_SCORE=answer.text_scores,
            GENERATION=np.array([answer.generation.encode()], np.object_),
            ENCODER=np.array([answer.encoder.encode()], np.object_),
        )


def _each(
    requests: Sequence[Any],
    read: Callable[[Any], Sequence[Any]],
    work: Callable[[Sequence[Any]], Sequence[Any]],
    respond: Callable[[Sequence[Any]], Any],
) -> list[Any]:
    """A response for each request; those that can be read are worked on together."""
    given: dict[int, Sequence[Any]] = {}
    responses: dict[int, Any] = {}
    for row, request in enumerate(requests):
        try:
            given[row] = read(request)
        except Refused as refused:
            responses[row] = refusal(refused)
    for row, found in zip(given, together(list(given.values()), work), strict=True):
        responses[row] = refusal(found) if isinstance(found, Refused) else respond(found)
    return [responses[row] for row in range(len(requests))]


def _one(found: Sequence[Any] | None) -> Any:
    if found is not None and len(found) > 1:
        raise Refused("lengths", f"{len(found)} values, want one")
    return found[0] if found else None


def _sides(request: Any) -> tuple[list[Product], list[Product]]:
    return read_products(request, "A_"), read_products(request, "B_")


def _release() -> Release:
    release = Release.read(Path(os.environ[RELEASE]))
    release.hold()
    return release


def _composed(release: Release) -> ComposedEncoding:
    return ComposedEncoding(release, Spec.read(release.engine).width)
