"""The service: a release that is open. The same functions answer in Triton and in any process."""

from collections.abc import Sequence

import numpy as np

from mmprod.retrieval.components import component_scores
from mmprod.retrieval.fusion import fuse_query
from mmprod.retrieval.generation import Generation
from mmprod.serving.encoding import Encoding, LocalEncoding, check_count
from mmprod.serving.products import encode_products, fused
from mmprod.serving.refused import Refused
from mmprod.serving.release import Release
from mmprod.serving.values import Answer, Compared, Product
from mmprod.storage.errors import InputError, StateError


class Service:
    """Similarity and search over a release's indexes. What has no vector yet is encoded by `encoding`."""

    def __init__(self, release: Release, encoding: Encoding) -> None:
        """Open the indexes, every file verified.

        Raises: StateError for a damaged file, or an index of another encoder than the release's.
        """
        self.release, self.encoding = release, encoding
        _same("engine", encoding.fingerprint, release.encoder)
        self._generations = {
            name: Generation.open(release.index(name), served.files)
            for name, served in release.profiles.items()
        }
        for name, generation in self._generations.items():
            _same(f"index {name}", generation.build.encoder, release.encoder)

    @classmethod
    def open(cls, release: Release, device: str = "cpu", threads: int = 0) -> "Service":
        """A service that encodes in this process. Raises: StateError."""
        return cls(release, LocalEncoding(release.engine, release.limits, device, threads))

    def encode(self, products: Sequence[Product], profile: str) -> np.ndarray:
        """Products as vectors of a profile's index, float32 [n, dim]; those given by id from the index.

        Raises: Refused for a product that is unknown, can't be used or has nothing that the profile counts.
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
            vectors[new] = fused(*parts, generation.build)
        if not vectors.any(axis=1).all():
            raise Refused("not_comparable", f"profile {profile} counts nothing of what was sent of a product")
        return vectors

    def similarity(self, pairs: Sequence[tuple[Product, Product]], profile: str) -> list[Compared]:
        """Compare the two products of each pair. Raises: Refused, as `encode`, and for unknown profiles."""
        generation = self._generation(profile)
        check_count(len(pairs), self.release.limits)
        left, right = np.split(self._vectors([*(a for a, _ in pairs), *(b for _, b in pairs)], profile), 2)
        scores = np.einsum("nd,nd->n", left, right, dtype=np.float64)
        image, text = component_scores(left, right, generation.build.weights, generation.build.width)
        served, found = self.release.profiles[profile], []
        for row, pair in enumerate(pairs):
            score = float(scores[row])
            limit = served.threshold(*(_category(generation, one) for one in pair))
            verdict = "unknown" if limit is None else "same" if score >= limit else "different"
            told = (score, float(image[row]), float(text[row]), float("nan") if limit is None else limit)
            found.append(Compared(*told, verdict, *self._origin(profile)))
        return found

    def search(
        self, query: Product, k: int, profile: str, category: str | None = None, *, as_text: bool = False
    ) -> Answer:
        """The k products nearest to one, itself left out; with `as_text` those that fit its title as words.

        A text asks picture and title halves alike, a product each half with its own.
        Raises: Refused, as `encode`, and for k outside 1 … the limit and unknown categories.
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
        return Answer(hits.ids[0], hits.scores[0], image[0], text[0], *self._origin(profile))

    def _generation(self, profile: str) -> Generation:
        if profile not in self._generations:
            names = ", ".join(sorted(self._generations))
            raise Refused("unknown_profile", f"no profile {profile!r}; there are {names}")
        return self._generations[profile]

    def _origin(self, profile: str) -> tuple[str, str]:
        return self.release.profiles[profile].generation, self.release.encoder


def _same(what: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise StateError(f"the {what} is of encoder {found}, the release of {wanted}: make the release again")


def _rows(generation: Generation, product_ids: Sequence[str]) -> np.ndarray:
    try:
        return generation.rows_of(product_ids)
    except InputError as error:
        raise Refused("unknown_id", str(error)) from error


def _category(generation: Generation, product: Product) -> str:
    if not product.product_id:
        return product.category
    return generation.category_of(generation.row_of(product.product_id))
