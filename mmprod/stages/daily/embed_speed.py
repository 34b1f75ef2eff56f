"""How many products a second this machine embeds, and what limits it. Nothing is written."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from mmprod.datasets.embeddings.plan import Job
from mmprod.datasets.identity import EMPTY
from mmprod.datasets.store.store import Store
from mmprod.datasets.threads import threads
from mmprod.encoders.decode_ahead import decoded_ahead
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.stream import embed, embed_all
from mmprod.sections import Config
from mmprod.stages.products import sample_of
from mmprod.storage.errors import InputError

_TOWERS = 4  # batches that are encoded without decoding


@dataclass(frozen=True)
class Speed:
    """Rates of a sample of products, per second: end to end, of decoding alone, and of the towers alone.

    `busy`: the share of the time end to end in which the towers worked; `threads`: of decoding, on a CPU also
    of the towers.
    """

    products: int
    pictures: int
    titles: int
    backend: str
    device: str
    threads: int
    whole: float
    decoding: float
    towers: float
    busy: float

    @property
    def limit(self) -> str:
        """What limits the rate, and what to do."""
        if self.towers <= self.decoding:
            return "the towers: a faster backend (`mmprod encoder backend`), a GPU, or more machines"
        return "decoding: more cores for this process, or smaller pictures in the table"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "limit": self.limit}


def measure_speed(config: Config, store: Store, encoder: Encoder, count: int) -> Speed:
    """Embed up to `count` products, always the same ones, and forget the vectors.

    Raises: InputError for a store in which no product has a picture or title.
    """
    jobs = [
        Job(
            r.product_id,
            live=True,
            image_hash=r.image_hash if r.image_hash != EMPTY else None,
            text_hash=r.text_hash if r.text_hash != EMPTY else None,
            picture=partial(store.picture, r.image_hash) if r.image_hash != EMPTY else None,
            title=r.title,
        )
        for r in sample_of(store, count)
    ]
    if not any(job.image_hash or job.text_hash for job in jobs):
        raise InputError(f"{store.path} has no product with a picture or title to embed; ingest some first")
    size, most = config.encoder.batch, config.images.max_pixels
    batches = [jobs[start : start + size] for start in range(0, len(jobs), size)]
    embed(batches[0], encoder, most)  # loads what is loaded at first use
    started, pictures, titles, towers = time.perf_counter(), 0, 0, 0.0
    for encoded in embed_all(batches, encoder, most):
        pictures, titles = pictures + encoded.pictures, titles + encoded.titles
        towers += encoded.tower_seconds
    seconds = time.perf_counter() - started
    return Speed(
        len(jobs),
        pictures,
        titles,
        encoder.backend,
        config.encoder.device,
        threads(),
        whole=len(jobs) / seconds,
        decoding=_decoding(batches, encoder, most),
        towers=_towers(batches[:_TOWERS], encoder, most),
        busy=towers / seconds,
    )


def _decoding(batches: Sequence[Sequence[Job]], encoder: Encoder, max_pixels: int) -> float:
    """Products a second that are read and decoded."""
    started = time.perf_counter()
    with closing(decoded_ahead(batches, encoder.geometry, max_pixels)) as decoded:
        done = sum(len(batch.jobs) for batch in decoded)
    return done / (time.perf_counter() - started)


def _towers(batches: Sequence[Sequence[Job]], encoder: Encoder, max_pixels: int) -> float:
    """Products a second that go through the towers once their pictures are decoded."""
    with closing(decoded_ahead(batches, encoder.geometry, max_pixels)) as source:
        ready = [(list(batch.pixels.values()), [j.title for j in batch.jobs if j.title]) for batch in source]
    started = time.perf_counter()
    for pixels, titles in ready:
        encoder.of_pixels(pixels)
        encoder.titles(titles)
    return sum(map(len, batches)) / (time.perf_counter() - started)
