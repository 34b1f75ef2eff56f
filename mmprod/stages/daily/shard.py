"""Encoding one shard of the store separately, in this process or in a Ray job."""

from mmprod.datasets.embeddings import numbering, scope
from mmprod.datasets.store.store import Store
from mmprod.lake import LAKE_ENCODER, Lake
from mmprod.sections import Config
from mmprod.stages.backend import embedding_encoder
from mmprod.stages.daily.embed import embed_shard, open_embeddings, shard_encoded
from mmprod.stages.outcome import Outcome, Progress, no_progress


def encode_shard(
    lake: Lake,
    config: Config,
    store: Store,
    shard: int,
    candidate: str | None = None,
    wait: bool = False,
    progress: Progress = no_progress,
) -> Outcome:
    """Encode a shard with `embed_shard`; first create its table, or adapt it to other categories or shards.

    Only that first step takes the lake's lock, and measuring backends, which always waits for it. Raises:
    StateError if another process holds the lock, unless `wait`.
    """
    if done := shard_encoded(lake, config, store, shard, candidate):
        return done
    measuring = lake.writing(wait=True)
    encoder = embedding_encoder(lake, config, store, candidate, locked=measuring, progress=progress)
    with lake.writing(wait):
        table = open_embeddings(lake, config, encoder)
        numbering.follow(store, table)
        scope.follow(config.encoder.categories, store, table)
    return embed_shard(config, store, table, encoder, shard, progress)


def shard_work(lake: Lake, config: Config, store: Store, shard: int, candidate: str | None = None) -> str:
    """A text that identifies the work: the same changes of the same shard, under the same encoder."""
    encoder = lake.encoder_name(LAKE_ENCODER + candidate if candidate else config.encoder.model)
    work = f"{encoder} {config.encoder.categories} {shard} {store.head()[shard : shard + 1]}"
    return f"{work} {store.numbering.number}" if store.numbering.number else work
