"""The embedding table without its encoder, which is slow to load and often not needed.

Where a `candidate` is named, an encoder of the lake that is to take the place of the configured one, what is
meant is its table: the one that is read once it has.
"""

from mmprod.datasets.embeddings import parts as parts
from mmprod.datasets.embeddings.table import POINTER, EmbeddingTable, read_pointer
from mmprod.datasets.store.store import Store
from mmprod.encoders.stream import OUT_OF_MEMORY
from mmprod.lake import LAKE_ENCODER, Lake
from mmprod.sections import Config
from mmprod.stages.daily.embed_categories import follow, wanted
from mmprod.stages.outcome import Outcome, Watch, silent, timed
from mmprod.storage.errors import StateError


def read_embeddings(lake: Lake, config: Config) -> EmbeddingTable:
    """The table of the configured encoder, as it is; an encoder of the lake is not loaded for that.

    Raises: StateError when nothing was embedded with it yet.
    """
    if table := _of_the_lake(lake, config):
        return table
    from mmprod.stages.encoder import load_encoder  # slow to import

    encoder = load_encoder(lake, config)
    root = lake.embeddings(config.encoder.model, encoder.fingerprint)
    if not (root / POINTER).exists():
        named = f"{config.encoder.model} {encoder.fingerprint[:12]}"
        raise StateError(f"nothing was embedded with {named} yet; run `mmprod embed`")
    return EmbeddingTable(root, encoder.fingerprint, encoder.width, config.store.shards)


def bring_up(
    lake: Lake,
    config: Config,
    store: Store,
    watch: Watch = silent,
    retry_failed: bool = False,
    candidate: str | None = None,
) -> Outcome:
    """What `embed_changes` does; an encoder of the lake is loaded only if something is left to encode."""
    with timed("embed") as outcome:
        table = None if retry_failed else _of_the_lake(lake, config, candidate)
        if table and settle(config, store, table, outcome) and not table.failed(OUT_OF_MEMORY):
            return outcome
    from mmprod.stages.daily.embed import embed_changes, open_embeddings  # slow to import
    from mmprod.stages.encoder import load_encoder

    encoder = load_encoder(lake, config, candidate=candidate)
    table = open_embeddings(lake, config, encoder)
    encoded = embed_changes(config, store, table, encoder, watch, retry_failed)
    encoded.detail = outcome.detail | encoded.detail
    return encoded


def shard_encoded(
    lake: Lake, config: Config, store: Store, shard: int, candidate: str | None = None
) -> Outcome | None:
    """What `embed_shard` does where all parts of the shard are there; None where the encoder is needed."""
    with timed(f"embed shard {shard}") as outcome:
        table, head = _of_the_lake(lake, config, candidate), store.head()
        if table is None or shard >= len(head) or table.pointer.categories != wanted(config):
            return None
        spans = parts.spans(table, shard, head[shard], config.encoder.part_rows)
        done = all(parts.path(table, span).exists() for span in spans)
    return outcome if done else None


def settle(config: Config, store: Store, table: EmbeddingTable, outcome: Outcome) -> bool:
    """Take in what shards have encoded; whether the table has then come to the store's last change."""
    head = store.head()
    follow(config, store, table)
    if taken := parts.take(table, store, config.encoder.commit_rows):
        outcome.detail["taken"] = taken
    outcome.made[str(table.root)] = str(table.pointer.revision)
    return head == table.pointer.position


def _of_the_lake(lake: Lake, config: Config, candidate: str | None = None) -> EmbeddingTable | None:
    """The table of an encoder of the lake, known by its manifest; None of another, or before it has one."""
    model = config.encoder.model
    if not (fingerprint := lake.encoder_fingerprint(LAKE_ENCODER + candidate if candidate else model)):
        return None
    root = lake.embeddings(model, fingerprint)
    if not (root / POINTER).exists():
        return None
    return EmbeddingTable(root, fingerprint, read_pointer(root).width, config.store.shards)
