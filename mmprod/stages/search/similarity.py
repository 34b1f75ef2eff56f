"""How alike two products are: by picture, by title, by each profile, and by whether titles fit pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mmprod.datasets.store.record import Record
from mmprod.datasets.store.store import Store
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.folders import kind_of
from mmprod.lake import LAKE_ENCODER, Lake
from mmprod.retrieval.fusion import fuse, half_width
from mmprod.sections import Config
from mmprod.stages.encoder import load_encoder, load_query_encoder
from mmprod.stages.search.rerank import picture_of
from mmprod.storage import artifacts
from mmprod.storage.errors import InputError


@dataclass(frozen=True)
class Similarity:
    """Scores of two products a and b.

    `image` and `text` are cosines, None where a side has no picture or no title; `profiles` the fused scores
    as an index gives them, a missing half counting nothing; `match_ab` the probability that a's title
    describes b's picture, `match_ba` the other way round, None unless the encoder is a BLIP and all is there.
    """

    a: str
    b: str
    image: float | None
    text: float | None
    profiles: dict[str, float]
    match_ab: float | None = None
    match_ba: float | None = None


def load_comparing_encoder(lake: Lake, config: Config) -> Encoder:
    """The configured encoder, as `similarity` wants it: its engine where there is one, but torch's of a BLIP.

    Only torch's can also tell whether a title fits a picture. Of an encoder that isn't of the lake, no engine
    is known before it is loaded.
    """
    model = config.encoder.model
    if fingerprint := lake.encoder_fingerprint(model):
        root = lake.encoder(model.removeprefix(LAKE_ENCODER))
        if kind_of(root / str(artifacts.current(root))) != "blip":
            return load_query_encoder(lake, config, fingerprint, ("image", "text"))
    return load_encoder(lake, config)


def similarity(config: Config, store: Store, encoder: Encoder, a: str, b: str) -> Similarity:
    """Compare two products as the store knows them now. Raises: InputError for an id it does not know."""
    records = [_record(store, product_id) for product_id in (a, b)]
    pictures = [picture_of(config, store, record) for record in records]
    titles = [record.title for record in records]
    image = _rows(encoder.pictures([p for p in pictures if p]), [p is not None for p in pictures])
    text = _rows(encoder.titles([t for t in titles if t]), [bool(t) for t in titles])
    profiles = {}
    for name, profile in config.profiles.items():
        fused = (fuse if profile.form == "exact" else half_width)(image, text, profile.weights)
        profiles[name] = float(fused[0] @ fused[1])
    has_image, has_text = None not in pictures, all(titles)
    return Similarity(
        a,
        b,
        float(image[0] @ image[1]) if has_image else None,
        float(text[0] @ text[1]) if has_text else None,
        profiles,
        *(_matches(encoder, [p for p in pictures if p], titles) if has_image and has_text else (None, None)),
    )


def _record(store: Store, product_id: str) -> Record:
    record = store.get(product_id)
    if record is None:
        raise InputError(f"the store knows no product {product_id!r}")
    return record


def _rows(vectors: np.ndarray, present: Sequence[bool]) -> np.ndarray:
    """Vectors of those present, zeros for the others: float32 [n, d]."""
    rows = np.zeros((len(present), vectors.shape[1]), np.float32)
    rows[np.array(present)] = vectors
    return rows


def _matches(
    encoder: Encoder, pictures: list[Image.Image], titles: list[str]
) -> tuple[float | None, float | None]:
    """P(a's title describes b's picture) and the other way round; None where the encoder can't tell."""
    if not hasattr(encoder, "model"):  # an engine; it needs no torch, and neither do we then
        return None, None
    from mmprod.encoders import clip
    from mmprod.encoders.blip.match import match_probabilities
    from mmprod.encoders.blip.network import Blip

    if not (isinstance(encoder, clip.Encoder) and isinstance(encoder.model, Blip)):
        return None, None
    ab, ba = match_probabilities(encoder, pictures[::-1], titles).tolist()
    return ab, ba
