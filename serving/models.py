"""The models of the Triton repository. Importable inside Triton's Python backend only."""

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
from mmprod.serving.composed import ComposedEncoding
from mmprod.serving.counter import Counter
from mmprod.serving.encoding import LocalEncoding, check_count
from mmprod.serving.products import encode_products
from mmprod.serving.recent import Recent
from mmprod.serving.refused import Refused
from mmprod.serving.release import VARIABLE, Release
from mmprod.serving.service import Service
from mmprod.serving.tensors import (
    failure,
    read_bytes,
    read_number,
    read_products,
    read_texts,
    response,
    text_of,
)
from mmprod.serving.together import together
from mmprod.serving.values import Answer, Compared, Product
from mmprod.storage.errors import StateError


class Model(ABC):
    """What the models share: of requests that come together, each is answered or refused by itself."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open what the model needs of the release."""
        self.name = args["model_name"]
        self._refusals = Counter("mmprod_refused_total", "Requests at fault, by model and code")
        release = Release.read(Path(os.environ[VARIABLE]))
        release.hold()
        self.open(release, args)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request. Those that can be read are worked on together."""
        given = [self._try_to_read(request) for request in requests]
        readable = [items for items in given if not isinstance(items, Refused)]
        try:
            found: Iterator[Sequence[Any] | Refused | StateError] = iter(together(readable, self.work))
        except StateError as error:
            found = repeat(error)
        return [self._answer(items if isinstance(items, Refused) else next(found)) for items in given]

    @abstractmethod
    def open(self, release: Release, args: dict[str, str]) -> None:
        """Prepare for requests. Raises: StateError, so that the model isn't loaded."""

    @abstractmethod
    def read(self, request: Any) -> Sequence[Any]:
        """The items that a request asks about. Raises: Refused."""

    @abstractmethod
    def work(self, items: Sequence[Any]) -> Sequence[Any]:
        """What is found for each item. Raises: Refused, StateError."""

    @abstractmethod
    def respond(self, found: Sequence[Any]) -> Any:
        """The response to a request from what was found for its items."""

    def _try_to_read(self, request: Any) -> Sequence[Any] | Refused:
        try:
            return self.read(request)
        except Refused as refused:
            return refused

    def _answer(self, outcome: Sequence[Any] | Refused | StateError) -> Any:
        if isinstance(outcome, Refused):
            self._refusals.add(1, model=self.name, code=outcome.code)
        return failure(outcome) if isinstance(outcome, Refused | StateError) else self.respond(outcome)


class EncoderModel(Model):
    """One tower, in this process."""

    tower: ClassVar[Tower]

    def open(self, release: Release, args: dict[str, str]) -> None:
        """Open the release's engine and send batches of one and of the most through it."""
        config = json.loads(args["model_config"])
        threads, kept = (int(config["parameters"][n]["string_value"]) for n in ("threads", "cache_bytes"))
        gpu = args["model_instance_kind"] == "GPU"
        device = f"cuda:{args['model_instance_device_id']}" if gpu else "cpu"
        self.encoding = LocalEncoding(release.engine, release.limits, device, threads, [self.tower])
        for count in (1, config["max_batch_size"]):
            self.encoding.warm_up(self.tower, count)
        self._recent = Recent(self._encode, self.encoding.width, kept)
        self._vectors = Counter("mmprod_vectors_total", "Vectors told, by where they came from")

    def read(self, request: Any) -> Sequence[bytes]:
        """Titles or pictures."""
        return read_bytes(request, "TITLE" if self.tower == "text" else "PICTURE") or []

    def work(self, items: Sequence[bytes]) -> Sequence[np.ndarray]:
        """Their vectors."""
        found, encoded = self._recent.vectors(items)
        for source, number in (("tower", encoded), ("cache", len(found) - encoded)):
            self._vectors.add(number, model=self.name, source=source)
        return found

    def respond(self, found: Sequence[np.ndarray]) -> Any:
        """VECTOR, ENCODER."""
        return response(VECTOR=np.stack(found), ENCODER=[self.encoding.fingerprint] * len(found))

    def _encode(self, items: Sequence[bytes]) -> np.ndarray:
        if self.tower == "image":
            return self.encoding.pictures(items)
        return self.encoding.titles([text_of("TITLE", item) for item in items])


class ComposedModel(Model):
    """A model that has titles and pictures encoded by the encoder models of this server."""

    def open(self, release: Release, args: dict[str, str]) -> None:
        """Read the release."""
        self.release = release
        self.encoding = ComposedEncoding(release, Spec.read(release.engine).width)
        self._products = Counter("mmprod_products_total", "Products asked about, by where vectors came from")

    def count(self, products: Iterable[Product]) -> None:
        """Tell the metrics of products that were answered for."""
        tally = Tally("index" if product.product_id else "encoded" for product in products)
        for source, number in tally.items():
            self._products.add(number, model=self.name, source=source)


class ProductModel(ComposedModel):
    """Both towers."""

    def read(self, request: Any) -> Sequence[Product]:
        """Products by content."""
        return read_products(request)

    def work(self, items: Sequence[Product]) -> Sequence[Any]:
        """The image and the text vector of each."""
        check_count(len(items), self.release.limits)
        for product in items:
            product.check()
        found = list(zip(*encode_products(self.encoding, items), strict=True))
        self.count(items)
        return found

    def respond(self, found: Sequence[Any]) -> Any:
        """IMAGE, TEXT, ENCODER."""
        image, text = (np.stack(half) for half in zip(*found, strict=True))
        return response(IMAGE=image, TEXT=text, ENCODER=[self.encoding.fingerprint] * len(found))


class ServiceModel(ComposedModel):
    """A model that needs the release's indexes too, every file verified."""

    def open(self, release: Release, args: dict[str, str]) -> None:
        """Open the indexes."""
        super().open(release, args)
        self.service = Service(release, self.encoding)


class SimilarityModel(ServiceModel):
    """Pairs of products."""

    def open(self, release: Release, args: dict[str, str]) -> None:
        """Open the indexes, and a count of what is found."""
        super().open(release, args)
        self._verdicts = Counter("mmprod_verdicts_total", "Pairs compared, by profile and verdict")

    def read(self, request: Any) -> Sequence[tuple[str, Product, Product]]:
        """A profile, a product and another for each pair."""
        profiles = read_texts(request, "PROFILE") or []
        first, second = (read_products(request, side) for side in ("A_", "B_"))
        if not len(profiles) == len(first) == len(second):
            counts = f"{len(profiles)} profiles, {len(first)} and {len(second)} products"
            raise Refused("lengths", f"{counts}: want one of each a pair")
        return list(zip(profiles, first, second, strict=True))

    def work(self, items: Sequence[tuple[str, Product, Product]]) -> Sequence[Compared]:
        """What is found, profile by profile."""
        found: dict[int, Compared] = {}
        for profile in dict.fromkeys(profile for profile, _, _ in items):
            rows = [row for row, item in enumerate(items) if item[0] == profile]
            compared = self.service.similarity([items[row][1:] for row in rows], profile)
            found |= dict(zip(rows, compared, strict=True))
            for verdict, number in Tally(one.verdict for one in compared).items():
                self._verdicts.add(number, profile=profile, verdict=verdict)
        self.count(product for _, *both in items for product in both)
        return [found[row] for row in range(len(items))]

    def respond(self, found: Sequence[Compared]) -> Any:
        """The fields of `Compared` as outputs."""
        names = [field.name for field in fields(Compared)]
        return response(**{name.upper(): [getattr(one, name) for one in found] for name in names})


class SearchModel(ServiceModel):
    """The nearest products of an index."""

    def read(self, request: Any) -> Sequence[Any]:
        """One search, as arguments of `Service.search`: by TEXT or by a product, within FILTER."""
        text, profile, category = (_one(read_texts(request, name)) for name in ("TEXT", "PROFILE", "FILTER"))
        products = read_products(request)
        if (text is not None) == bool(products):
            raise Refused("ambiguous", "send either TEXT, or one product as ID or TITLE and PICTURE")
        query = Product(title=text) if text is not None else _one(products) or Product()
        return [(query, read_number(request, "K"), profile or "", category or None, text is not None)]

    def work(self, items: Sequence[Any]) -> Sequence[Answer]:
        """The answer to each search."""
        found = [self.service.search(*item, as_text=as_text) for *item, as_text in items]
        self.count(query for query, *_ in items)
        return found

    def respond(self, found: Sequence[Answer]) -> Any:
        """PRODUCT_ID, SCORE, IMAGE_SCORE, TEXT_SCORE, GENERATION, ENCODER."""
        (answer,) = found
        return response(
            PRODUCT_ID=np.array([name.encode() for name in answer.product_ids], np.object_),
            SCORE=answer.scores,
            IMAGE_SCORE=answer.image_scores,
            TEXT_SCORE=answer.text_scores,
            GENERATION=np.array([answer.generation.encode()], np.object_),
            ENCODER=np.array([answer.encoder.encode()], np.object_),
        )


def _one(found: Sequence[Any] | None) -> Any:
    if found is not None and len(found) > 1:
        raise Refused("lengths", f"{len(found)} values, want one")
    return found[0] if found else None
