"""How much disk an artifact is going to take, before it is made; `mmprod.storage.room` compares."""

from mmprod.encoders.export.spec import Kind, Precision
from mmprod.sections import Config, Profile
from mmprod.storage.artifacts import Opened

ITEM = 60
"""Bytes of a product beside its vector in an index: its id and category, as delivered."""
_NEIGHBOUR = 18  # bytes of a recall table's row without the neighbour's id: scores, rank, place of the id
_GRAPHS = 6_000_000  # bytes of an engine that are no weights: what is computed, and a large tokenizer


def fused_width(profile: Profile, width: int) -> int:
    """Numbers of a profile's fused vector, of an encoder whose vectors have `width`."""
    halves = sum(weight > 0 for weight in profile.weights) if profile.form == "exact" else 1
    return width * halves


def index_bytes(config: Config, profile: str, width: int, count: int) -> int:
    """A generation of a profile's index over `count` vectors. Raises: InputError for index.factory."""
    from mmprod.retrieval.index import bytes_of

    dim = fused_width(config.profile(profile), width)
    return bytes_of(config.index.factory, dim, count) + count * ITEM


def item_bytes(index: Opened) -> float:
    """What a product's id takes in a file, by those of an index."""
    from mmprod.retrieval.folder import ITEMS  # Faiss takes half a second to import

    return (index.path / ITEMS).stat().st_size / max(1, int(index.manifest.counts["products"]))


def recall_bytes(count: int, k: int, item: float) -> int:
    """A recall table of `count` products with k neighbours each; `item`: bytes of an id in a file."""
    return int(count * (k * _NEIGHBOUR + (k + 1) * item))


def engine_bytes(kind: Kind, precision: Precision, weights: int) -> int:
    """An engine while it is made, of an encoder with `weights` bytes of them in fp32.

    OpenVINO and TensorRT make theirs from ONNX files, which lie there too until then or for good.
    """
    onnx = weights // 2 if precision == "fp16" and kind != "openvino" else weights
    return (onnx if kind == "onnx" else 2 * onnx) + _GRAPHS
