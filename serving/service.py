"""Similarity and search over an open release; the same code runs in Triton and in any other process."""

from collections.abc import Sequence

import numpy as np

from mmprod.retrieval.components import component_scores
from mmprod.retrieval.fusion import fuse_query
from mmprod.retrieval.generation import Generation
from mmprod.serving.encoding import Encoding, LocalEncoding, check_count
from mmprod.serving.errors import Refused
from mmprod.serving.products import encode_products, fuse_for_index
from mmprod.serving.release import Release
from mmprod.serving.types import Product, SearchResult, Similarity
from mmprod.storage.errors import InputError, StateError


class Service:
    """Similarity and search over a release's indexes; `encoding` encodes products that are not in them."""

    def __init__(self, release: Release, encoding: Encoding) -> None:
        """Open the indexes and verify each file.

        Raises: StateError for a damaged file, or if an index has another encoder than the release.
        """
        self.release, self.encoding = release, encoding
        _check_encoder("engine", encoding.fingerprint, release.encoder)
        self._generations = {
            name: Generation.open(release.index(name), served.files)
            for name, served in release.profiles.items()
        }
        for name, generation in self._generations.items():
            _check_encoder(f"index {name}", generation.build.encoder, release.encoder)

    @classmethod
    def open(cls, release: Release, device: str = "cpu", threads: int = 0) -> "Service":
        """A service that encodes in this process. Raises: StateError, as the constructor."""
        return cls(release, LocalEncoding(release.engine, release.limits, device, threads))

    def encode(self, products: Sequence[Product], profile: str) -> np.ndarray:
        """Vectors of products for a profile's index, float32 [n, dim]; of ids the vectors in the index.

        Raises: Refused for a product that is unknown, can't be used or has nothing that the profile uses.
        """
        check_count(len(products), self.release.limits)
        return self._vectors(products, profile)

    def _vectors(self, products: Sequence[Product], profile: str) -> np.ndarray:
        generation = self._generation(profile)
        for product in products:
            product.check()
        vectors = np.zeros((len(products), generation.build.dim), np.float32)
        known = [row for row, product in enumerate(products) if product.product_id]
        if known:
            vectors[known] = generation.vectors(
                _rows(generation, [products[row].product_id for row in known])
            )
        new = [row for row, product in enumerate(products) if not product.product_id]
        if new:
            parts = encode_products(self.encoding, [products[row] for row in new])
            vectors[new] = fuse_for_index(*parts, generation.build)
        if not vectors.any(axis=1).all():
            raise Refused("not_comparable", f"profile {profile} uses nothing of what was sent for a product")
        return vectors

    def similarity(self, pairs: Sequence[tuple[Product, Product]], profile: str) -> list[Similarity]:
        """Compare the two products of each pair. Raises: Refused, as `encode`, or for an unknown profile."""
        generation = self._generation(profile)
        check_count(len(pairs), self.release.limits)
        left, right = np.split(self._vectors([*(a for a, _ in pairs), *(b for _, b in pairs)], profile), 2)
        scores = np.einsum("nd,nd->n", left, right, dtype=np.float64)
        image, text = component_scores(left, right, generation.build.weights, generation.build.width)
        served, results = self.release.profiles[profile], []
        for row, pair in enumerate(pairs):
            score = float(scores[row])
            limit = served.threshold(*(_category(generation, product) for product in pair))
            verdict = "unknown" if limit is None else "same" if score >= limit else "different"
            numbers = (score, float(image[row]), float(text[row]), float("nan") if limit is None else limit)
            results.append(Similarity(*numbers, verdict, *self._origin(profile)))
        return results

    def search(
        self, query: Product, k: int, profile: str, category: str | None = None, *, as_text: bool = False
    ) -> SearchResult:
        """The k products nearest to the query product, without itself.

        With `as_text` the query is its title as a search text, compared with the pictures and the titles of
        products. Otherwise its picture is compared with pictures and its title with titles.
        Raises: Refused, as `encode`, for k outside 1 … the limit, or for an unknown category.
        """
        generation = self._generation(profile)
        if not 1 <= k <= self.release.limits.k:
            raise Refused("bad_k", f"k is {k}, want 1 to {self.release.limits.k}")
        if as_text:
            build = generation.build
            vector = fuse_query(self.encoding.titles([query.title]), build.weights, build.dim)
        else:
            vector = self.encode([query], profile)
        itself = np.array([generation.row_of(query.product_id)]) if query.product_id else None
        try:
            hits = generation.search(
                vector, k, encoder=self.release.encoder, category=category, exclude_rows=itself
            )
        except InputError as error:
            raise Refused("unknown_category", str(error)) from error
        image, text = generation.component_scores(vector, hits.rows)
        return SearchResult(hits.ids[0], hits.scores[0], image[0], text[0], *self._origin(profile))

    def _generation(self, profile: str) -> Generation:
        if profile not in self._generations:
            names = ", ".join(sorted(self._generations))
            raise Refused("unknown_profile", f"no profile {profile!r}; there are {names}")
        return self._generations[profile]

    def _origin(self, profile: str) -> tuple[str, str]:
        return self.release.profiles[profile].generation, self.release.encoder


def _check_encoder(what: str, encoder: str, expected: str) -> None:
    if encoder != expected:
        raise StateError(
            f"the {what} is of encoder {encoder}, the release of {expected}: run `mmprod release build`"
        )


def _rows(generation: Generation, product_ids: Sequence[str]) -> np.ndarray:
    try:
        return generation.rows_of(product_ids)
    except InputError as error:
        raise Refused("unknown_id", str(error)) from error


def _category(generation: Generation, product: Product) -> str:
    if not product.product_id:
        return product.category
    return generation.category_of(generation.row_of(product.product_id))
