"""Similarity of two products: by picture, by title, by each profile, and by BLIP's image-text matching."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from mmprod.datasets.store.record import Record
from mmprod.datasets.store.store import Store
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.folders import kind_of
from mmprod.encoders.imported import Imported
from mmprod.lake import LAKE_ENCODER, Lake
from mmprod.retrieval.fusion import fuse, half_width
from mmprod.sections import Config
from mmprod.stages.encoder import load_query_encoder, open_encoder
from mmprod.stages.search.rerank import picture_of
from mmprod.storage import artifacts
from mmprod.storage.errors import InputError

if TYPE_CHECKING:
    from mmprod.encoders import clip


@dataclass(frozen=True)
class Similarity:
    """Scores of two products a and b.

    `image` and `text` are cosines, None if one of the products has no picture or no title. `profiles` are the
    fused scores, as in an index; a missing picture or title adds 0. `match_ab` is the probability that a's
    title describes b's picture, `match_ba` the reverse; None unless the encoder is a BLIP and both products
    have picture and title.
    """

    a: str
    b: str
    image: float | None
    text: float | None
    profiles: dict[str, float]
    match_ab: float | None = None
    match_ba: float | None = None


def load_comparing_encoder(lake: Lake, config: Config) -> Encoder:
    """Load the configured encoder for `similarity`: its exported engine if there is one, but a BLIP in torch.

    Only the torch model of a BLIP can also match titles with pictures. For encoders outside the lake torch is
    used as well: their engines can be found only by the fingerprint, which needs the loaded encoder.
    """
    model = config.encoder.model
    if model.startswith(LAKE_ENCODER) and (fingerprint := lake.encoder_fingerprint(model)):
        root = lake.encoder(model.removeprefix(LAKE_ENCODER))
        if kind_of(root / str(artifacts.current(root))) != "blip":
            return load_query_encoder(lake, config, fingerprint, ("image", "text"))
    return open_encoder(lake, config)


def similarity(config: Config, store: Store, encoder: Encoder, a: str, b: str) -> Similarity:
    """Compare two products of the store: of imported vectors, those in the embedding table.

    Raises: InputError for an unknown id.
    """
    records = [_record(store, product_id) for product_id in (a, b)]
    if isinstance(encoder, Imported):
        return _of_imported(config, encoder, a, b)
    pictures = [picture_of(config, store, record) for record in records]
    titles = [record.title for record in records]
    image = _rows(encoder.pictures([p for p in pictures if p]), [p is not None for p in pictures])
    text = _rows(encoder.titles([t for t in titles if t]), [bool(t) for t in titles])
    has_image, has_text = None not in pictures, all(titles)
    matches = (
        _matches(encoder, [p for p in pictures if p], titles) if has_image and has_text else (None, None)
    )
    return Similarity(a, b, *_scores(config, image, has_image, text, has_text), *matches)


def _of_imported(config: Config, encoder: Imported, a: str, b: str) -> Similarity:
    rows = {row["product_id"]: row for row in encoder.table.vectors_of([a, b]).to_pylist()}
    sides: list[tuple[np.ndarray, bool]] = []
    for modality in ("image", "text"):
        vectors = [rows[name][modality] if name in rows else None for name in (a, b)]
        present = [vector is not None for vector in vectors]
        given = [vector for vector in vectors if vector is not None]
        sides.append((_rows(np.array(given, np.float32).reshape(-1, encoder.width), present), all(present)))
    return Similarity(a, b, *_scores(config, *sides[0], *sides[1]))


def _scores(
    config: Config, image: np.ndarray, has_image: bool, text: np.ndarray, has_text: bool
) -> tuple[float | None, float | None, dict[str, float]]:
    """The cosines of pictures and titles, float32 [2, d] each, and the profiles' scores."""
    profiles = {}
    for name, profile in config.profiles.items():
        fused = (fuse if profile.form == "exact" else half_width)(image, text, profile.weights)
        profiles[name] = float(fused[0] @ fused[1])
    cosines = [float(m[0] @ m[1]) if has else None for m, has in ((image, has_image), (text, has_text))]
    return cosines[0], cosines[1], profiles


def _record(store: Store, product_id: str) -> Record:
    record = store.get(product_id)
    if record is None:
        raise InputError(f"the store has no product {product_id!r}")
    return record


def _rows(vectors: np.ndarray, present: Sequence[bool]) -> np.ndarray:
    """float32 [n, d]: the vectors in the rows that are `present`, zeros in the others."""
    rows = np.zeros((len(present), vectors.shape[1]), np.float32)
    rows[np.array(present)] = vectors
    return rows


def _matches(
    encoder: Encoder, pictures: list[Image.Image], titles: list[str]
) -> tuple[float | None, float | None]:
    """P(a's title describes b's picture) and the reverse; None if the encoder can't match."""
    if not hasattr(getattr(encoder, "model", None), "match"):  # an engine, or a torch model that is not a
        # BLIP
        return None, None
    from mmprod.encoders.blip.match import match_probabilities  # with torch, which an engine needs none of

    ab, ba = match_probabilities(cast("clip.Encoder", encoder), pictures[::-1], titles).tolist()
    return ab, ba
