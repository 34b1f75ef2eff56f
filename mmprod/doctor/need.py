"""What the configured lake is going to need."""

from dataclasses import dataclass

from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages import needs

_ID = 25  # bytes of an id in a file


@dataclass(frozen=True)
class Need:
    """Bytes; zeros before there are vectors. `night`: of a new generation of each index and recall table."""

    night: int = 0
    largest: int = 0  # of one index, which is built in memory


def need_of(lake: Lake, config: Config) -> Need:
    """By the lake's embedding table with the most products.

    Raises: StateError for a damaged one; InputError for an index.factory that can't be built.
    """
    from mmprod.datasets.embeddings.table import EmbeddingTable, read_pointer  # half a second to import

    tables = []
    for root in lake.embedding_roots():
        pointer = read_pointer(root)
        table = EmbeddingTable(root, pointer.encoder, pointer.width, len(pointer.position))
        tables.append((table.count(), pointer.width))
    count, width = max(tables, default=(0, 0))
    if not count:
        return Need()
    sizes = [needs.index_bytes(config, name, width, count) for name in config.profiles]
    recall = needs.recall_bytes(count, config.recall.k, _ID) * len(config.recall.profiles)
    return Need(sum(sizes) + recall, max(sizes))
