"""Estimates of the disk space an artifact will need; `mmprod.storage.room` checks that it is free."""

from mmprod.encoders.export.spec import Kind, Precision
from mmprod.retrieval.folder import ITEMS
from mmprod.retrieval.index import bytes_of
from mmprod.sections import Config, Profile
from mmprod.storage.artifacts import Opened

ITEM = 60
"""Bytes per product of an index in addition to its vector: id and category, as delivered."""
_NEIGHBOUR = 18  # bytes per row of a recall table, without the neighbour's id: scores, rank, index of the id
_GRAPHS = 6_000_000  # bytes of an engine that are not weights: the graph, and a large tokenizer


def fused_width(profile: Profile, width: int) -> int:
    """Dimension of a profile's fused vectors, for an encoder whose vectors have `width` dimensions."""
    halves = sum(weight > 0 for weight in profile.weights) if profile.form == "exact" else 1
    return width * halves


def index_bytes(config: Config, profile: str, width: int, count: int) -> int:
    """Bytes of a profile's index of `count` vectors. Raises: InputError for an invalid index.factory."""
    dim = fused_width(config.profile(profile), width)
    return bytes_of(config.index.factory, dim, count) + count * ITEM


def item_bytes(index: Opened) -> float:
    """Average bytes of a product's id in a file, estimated from an index."""
    return (index.path / ITEMS).stat().st_size / max(1, int(index.manifest.counts["products"]))


def recall_bytes(count: int, k: int, item: float) -> int:
    """Bytes of a recall table of `count` products, k neighbours each; `item`: bytes per id in a file."""
    return int(count * (k * _NEIGHBOUR + (k + 1) * item))


def engine_bytes(kind: Kind, precision: Precision, weights: int) -> int:
    """Bytes needed while an engine is made; `weights`: bytes of the encoder's weights in fp32.

    OpenVINO and TensorRT engines are made from ONNX files, which need space too, temporarily or for good.
    """
    onnx = weights // 2 if precision == "fp16" and kind != "openvino" else weights
    return (onnx if kind == "onnx" else 2 * onnx) + _GRAPHS
