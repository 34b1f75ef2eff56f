"""Model folders in open_clip's or transformers' format. Only safetensors weights are read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmprod.datasets.lazy import lazy
from mmprod.storage.errors import InputError, StateError

if TYPE_CHECKING:
    from torch import nn

# Slow to import (with torch); `kind_of` needs none of them.
open_clip, huggingface_hub = lazy("open_clip"), lazy("huggingface_hub")
safetensors, safetensors_torch = lazy("safetensors"), lazy("safetensors.torch")

OPEN_CLIP, OPEN_CLIP_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
PICTURES = "preprocessor_config.json"
KINDS = ("open_clip", "chinese_clip", "blip")
_FILTERS = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers, which transformers writes


def kind_of(folder: Path) -> str:
    """The kind of model in a folder, one of KINDS.

    Raises: InputError for a folder without configuration, of another kind, or without safetensors;
    StateError for an unreadable configuration.
    """
    if (folder / OPEN_CLIP).is_file():
        read_json(folder / OPEN_CLIP)
        return _with_weights(folder, "open_clip", OPEN_CLIP_WEIGHTS)
    if not (folder / CONFIG).is_file():
        raise InputError(
            f"{folder} holds no {OPEN_CLIP} and no {CONFIG}; "
            "an encoder is a folder in open_clip's or transformers' format"
        )
    kind = read_json(folder / CONFIG).get("model_type")
    if kind not in KINDS:
        raise InputError(f"{folder / CONFIG} is of model_type {kind!r}; known are chinese_clip and blip")
    return _with_weights(folder, str(kind), WEIGHTS)


def fetch(name: str) -> Path:
    """The folder of a Hugging Face repository, ``org/name`` or ``org/name@revision``, in the local cache.

    It is downloaded first unless HF_HUB_OFFLINE is set; of the weights, only safetensors are downloaded.
    Raises InputError when it is not available.
    """
    repository, _, revision = name.partition("@")
    wanted = ["*.json", "*.txt", WEIGHTS]
    try:
        return Path(
            huggingface_hub.snapshot_download(repository, revision=revision or None, allow_patterns=wanted)
        )
    except (OSError, ValueError) as error:
        raise InputError(f"encoder transformers:{name} is not available: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; StateError when the file holds none."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StateError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise StateError(f"{path} is damaged: a JSON object is expected, found {type(content).__name__}")
    return content


def load_weights(model: "nn.Module", path: Path) -> None:
    """Load `model`'s weights from a safetensors file: names and shapes must match exactly.

    Position ids, which older checkpoints store beside their weights, are ignored.
    Raises: StateError for a damaged file, InputError for weights that do not fit.
    """
    try:
        tensors = safetensors_torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise StateError(f"{path} is damaged: {error}") from error
    tensors = {name: t for name, t in tensors.items() if not name.endswith(".position_ids")}
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path} can't be loaded: {error}") from error


def save_weights(model: "nn.Module", path: Path) -> None:
    """Write a model's tensors as safetensors, readable by transformers too."""
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in model.state_dict().items()}
    safetensors_torch.save_file(tensors, path, metadata={"format": "pt"})


def read_preprocessing(folder: Path, side: int) -> dict[str, Any]:
    """Read transformers' picture preprocessing as open_clip's dict, for a tower of `side` pixels.

    With a centre crop the shorter edge is resized to `side`, without one both edges are. Raises: InputError
    for a missing file or a size other than the tower's.
    """
    if not (folder / PICTURES).is_file():
        raise InputError(f"{folder} holds no {PICTURES}, which says how pictures are preprocessed; add it")
    content = read_json(folder / PICTURES)
    cropped = content.get("do_center_crop", True)
    size = content.get("crop_size" if cropped else "size", side)
    found = {size} if isinstance(size, int) else set(size.values())
    if found != {side}:
        raise InputError(f"{folder / PICTURES} makes pictures of {size}, the tower takes {side} pixels")
    names = {number: name for name, number in _FILTERS.items()}
    preprocessing = open_clip.transform.PreprocessCfg(
        size=side,
        mean=tuple(content["image_mean"]),
        std=tuple(content["image_std"]),
        interpolation=names.get(content.get("resample", 3), "bicubic"),
        resize_mode="shortest" if cropped else "squash",
    )
    return dict(vars(preprocessing))


def write_preprocessing(preprocessing: Mapping[str, Any], folder: Path) -> None:
    """The inverse of `read_preprocessing`."""
    size = preprocessing["size"]
    side = size if isinstance(size, int) else size[0]
    cropped = preprocessing["resize_mode"] == "shortest"
    square = {"height": side, "width": side}
    content = {
        "do_resize": True,
        "size": {"shortest_edge": side} if cropped else square,
        "do_center_crop": cropped,
        "crop_size": square,
        "do_normalize": True,
        "image_mean": list(preprocessing["mean"]),
        "image_std": list(preprocessing["std"]),
        "resample": _FILTERS[preprocessing["interpolation"]],
    }
    (folder / PICTURES).write_text(json.dumps(content, indent=1))


def _with_weights(folder: Path, kind: str, weights: str) -> str:
    if not (folder / weights).is_file():
        raise InputError(f"{folder} holds no {weights}; pickled checkpoints (.bin, .pt) are not opened")
    return kind
