"""Disk space and memory that the configured lake will need."""

from dataclasses import dataclass

from mmprod.datasets.embeddings.table import EmbeddingTable, read_pointer
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages import needs

_ID = 25  # bytes of an id in a file


@dataclass(frozen=True)
class Need:
    """Needed bytes, 0 before there are vectors. `night`: a new generation of each index and recall table."""

    night: int = 0
    largest: int = 0  # the largest index, which is built in memory


def need_of(lake: Lake, config: Config) -> Need:
    """The need for the lake's embedding table with the most products.

    Raises: StateError for a damaged table; InputError for an invalid index.factory.
    """
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
