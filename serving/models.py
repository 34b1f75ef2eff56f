"""The models of the Triton repository. Importable in Triton's Python backend only."""

import json
import os
from abc import ABC, abstractmethod
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmprod.encoders.export.spec import Spec, Tower
from mmprod.serving.batching import batched
from mmprod.serving.bls import BlsEncoding
from mmprod.serving.cache import VectorCache
from mmprod.serving.counter import Counter
from mmprod.serving.encoding import LocalEncoding, check_count
from mmprod.serving.errors import Refused
from mmprod.serving.products import encode_products
from mmprod.serving.release import VARIABLE, Release
from mmprod.serving.service import Service
from mmprod.serving.tensors import (
    error_response,
    read_bytes,
    read_number,
    read_products,
    read_texts,
    response,
    text_of,
)
from mmprod.serving.types import Product, SearchResult, Similarity
from mmprod.storage.errors import StateError


class Model(ABC):
    """What all models share. Each request of a batch succeeds or fails on its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Triton's hook: open what the model needs from the release."""
        self.name = args["model_name"]
        self._refusals = Counter("mmprod_refused_total", "Bad requests, by model and code")
        release = Release.read(Path(os.environ[VARIABLE]))
        release.hold()
        self.open(release, args)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Triton's hook: one response per request; the valid requests are processed as one batch."""
        parsed = [self._try_to_read(request) for request in requests]
        valid = [items for items in parsed if not isinstance(items, Refused)]
        try:
            outcomes: Iterator[Sequence[Any] | Refused | StateError] = iter(batched(valid, self.process))
        except StateError as error:
            outcomes = repeat(error)
        return [self._respond(items if isinstance(items, Refused) else next(outcomes)) for items in parsed]

    @abstractmethod
    def open(self, release: Release, args: dict[str, str]) -> None:
        """Prepare for requests. Raises: StateError, and then Triton does not load the model."""

    @abstractmethod
    def read(self, request: Any) -> Sequence[Any]:
        """The items of a request. Raises: Refused."""

    @abstractmethod
    def process(self, items: Sequence[Any]) -> Sequence[Any]:
        """One result per item. Raises: Refused, StateError."""

    @abstractmethod
    def respond(self, results: Sequence[Any]) -> Any:
        """The response to a request from the results of its items."""

    def _try_to_read(self, request: Any) -> Sequence[Any] | Refused:
        try:
            return self.read(request)
        except Refused as refused:
            return refused

    def _respond(self, outcome: Sequence[Any] | Refused | StateError) -> Any:
        if isinstance(outcome, Refused):
            self._refusals.add(1, model=self.name, code=outcome.code)
        return error_response(outcome) if isinstance(outcome, Refused | StateError) else self.respond(outcome)


class EncoderModel(Model):
    """One tower of the encoder, run in this process."""

    tower: ClassVar[Tower]

    def open(self, release: Release, args: dict[str, str]) -> None:
        """Open the release's engine and encode a smallest and a largest batch."""
        config = json.loads(args["model_config"])
        threads, cache = (int(config["parameters"][n]["string_value"]) for n in ("threads", "cache_bytes"))
        gpu = args["model_instance_kind"] == "GPU"
        device = f"cuda:{args['model_instance_device_id']}" if gpu else "cpu"
        self.encoding = LocalEncoding(release.engine, release.limits, device, threads, [self.tower])
        for count in (1, config["max_batch_size"]):
            self.encoding.warm_up(self.tower, count)
        self._cache = VectorCache(self._encode, self.encoding.width, cache)
        self._vectors = Counter("mmprod_vectors_total", "Vectors returned, by their source")

    def read(self, request: Any) -> Sequence[bytes]:
        """Titles or pictures."""
        return read_bytes(request, "TITLE" if self.tower == "text" else "PICTURE") or []

    def process(self, items: Sequence[bytes]) -> Sequence[np.ndarray]:
        """The vector of each."""
        vectors, encoded = self._cache.vectors(items)
        for source, number in (("tower", encoded), ("cache", len(vectors) - encoded)):
            self._vectors.add(number, model=self.name, source=source)
        return vectors

    def respond(self, results: Sequence[np.ndarray]) -> Any:
        """VECTOR, ENCODER."""
        return response(VECTOR=np.stack(results), ENCODER=[self.encoding.fingerprint] * len(results))

    def _encode(self, items: Sequence[bytes]) -> np.ndarray:
        if self.tower == "image":
            return self.encoding.pictures(items)
        return self.encoding.titles([text_of("TITLE", item) for item in items])


class BlsModel(Model):
    """A model that calls the encoder models of this server to encode titles and pictures."""

    def open(self, release: Release, args: dict[str, str]) -> None:
        """Keep the release; its engine is opened by the encoder models."""
        self.release = release
        self.encoding = BlsEncoding(release, Spec.read(release.engine).width)
        self._products = Counter(
            "mmprod_products_total", "Products in requests, by the source of their vector"
        )

    def count(self, products: Iterable[Product]) -> None:
        """Count products whose requests succeeded."""
        tally = Tally("index" if product.product_id else "encoded" for product in products)
        for source, number in tally.items():
            self._products.add(number, model=self.name, source=source)


class ProductModel(BlsModel):
    """Image and text vectors of products."""

    def read(self, request: Any) -> Sequence[Product]:
        """Products given by content."""
        return read_products(request)

    def process(self, items: Sequence[Product]) -> Sequence[Any]:
        """The image and the text vector of each."""
        check_count(len(items), self.release.limits)
        for product in items:
            product.check()
        vectors = list(zip(*encode_products(self.encoding, items), strict=True))
        self.count(items)
        return vectors

    def respond(self, results: Sequence[Any]) -> Any:
        """IMAGE, TEXT, ENCODER."""
        image, text = (np.stack(half) for half in zip(*results, strict=True))
        return response(IMAGE=image, TEXT=text, ENCODER=[self.encoding.fingerprint] * len(results))


class ServiceModel(BlsModel):
    """A model that also needs the release's indexes."""

    def open(self, release: Release, args: dict[str, str]) -> None:
        """Open the indexes and verify each file."""
        super().open(release, args)
        self.service = Service(release, self.encoding)


class SimilarityModel(ServiceModel):
    """The similarity of pairs of products."""

    def open(self, release: Release, args: dict[str, str]) -> None:
        """Open the indexes, and a counter of verdicts."""
        super().open(release, args)
        self._verdicts = Counter("mmprod_verdicts_total", "Pairs compared, by profile and verdict")

    def read(self, request: Any) -> Sequence[tuple[str, Product, Product]]:
        """The profile and the two products of each pair."""
        profiles = read_texts(request, "PROFILE") or []
        first, second = (read_products(request, side) for side in ("A_", "B_"))
        if not len(profiles) == len(first) == len(second):
            counts = f"{len(profiles)} profiles, {len(first)} and {len(second)} products"
            raise Refused("lengths", f"{counts}: want one of each per pair")
        return list(zip(profiles, first, second, strict=True))

    def process(self, items: Sequence[tuple[str, Product, Product]]) -> Sequence[Similarity]:
        """The similarity of each pair; all pairs of a profile are compared together."""
        results: dict[int, Similarity] = {}
        for profile in dict.fromkeys(profile for profile, _, _ in items):
            rows = [row for row, item in enumerate(items) if item[0] == profile]
            compared = self.service.similarity([items[row][1:] for row in rows], profile)
            results |= dict(zip(rows, compared, strict=True))
            for verdict, number in Tally(one.verdict for one in compared).items():
                self._verdicts.add(number, profile=profile, verdict=verdict)
        self.count(product for _, *both in items for product in both)
        return [results[row] for row in range(len(items))]

    def respond(self, results: Sequence[Similarity]) -> Any:
        """The fields of `Similarity` as outputs."""
        names = [field.name for field in fields(Similarity)]
        return response(**{name.upper(): [getattr(one, name) for one in results] for name in names})


class SearchModel(ServiceModel):
    """The nearest products of an index."""

    def read(self, request: Any) -> Sequence[Any]:
        """One search, as arguments of `Service.search`: by TEXT or by a product, within category FILTER."""
        text, profile, category = (_one(read_texts(request, name)) for name in ("TEXT", "PROFILE", "FILTER"))
        products = read_products(request)
        if (text is not None) == bool(products):
            raise Refused("ambiguous", "send either TEXT, or one product as ID or TITLE and PICTURE")
        query = Product(title=text) if text is not None else _one(products) or Product()
        return [(query, read_number(request, "K"), profile or "", category or None, text is not None)]

    def process(self, items: Sequence[Any]) -> Sequence[SearchResult]:
        """The result of each search."""
        results = [self.service.search(*item, as_text=as_text) for *item, as_text in items]
        self.count(query for query, *_ in items)
        return results

    def respond(self, results: Sequence[SearchResult]) -> Any:
        """PRODUCT_ID, SCORE, IMAGE_SCORE, TEXT_SCORE, GENERATION, ENCODER."""
        (result,) = results
        return response(
            PRODUCT_ID=np.array([name.encode() for name in result.product_ids], np.object_),
            SCORE=result.scores,
            IMAGE_SCORE=result.image_scores,
            TEXT_SCORE=result.text_scores,
            GENERATION=np.array([result.generation.encode()], np.object_),
            ENCODER=np.array([result.encoder.encode()], np.object_),
        )


def _one(values: Sequence[Any] | None) -> Any:
    if values is not None and len(values) > 1:
        raise Refused("lengths", f"{len(values)} values, want one")
    return values[0] if values else None
