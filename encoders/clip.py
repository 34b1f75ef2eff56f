"""CLIP-style encoders by open_clip: a picture or a title in, a unit vector out.

Names are open_clip's: ``ViT-B-32`` with a pretrained tag, ``hf-hub:org/name``, ``local-dir:folder``. Our own
checkpoints are ``local-dir:`` folders too: ``open_clip_config.json`` and ``open_clip_model.safetensors``.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from mmprod.datasets.errors import InputError, StateError
from mmprod.datasets.text import FORM
from mmprod.encoders.fingerprint import fingerprint_of

log = logging.getLogger(__name__)
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
Transform = Callable[[Image.Image], torch.Tensor]


@dataclass(frozen=True)
class Encoder:
    """Both towers with their preprocessing, on one device, ready to encode.

    `width` is the vectors' length; `fingerprint` (64 hex digits) changes with weights, architecture,
    preprocessing, tokenizer or title normal form, and travels with everything made from the vectors.
    """

    model: torch.nn.Module
    transform: Transform
    tokenizer: Any
    width: int
    picture_side: int
    fingerprint: str
    device: str

    def pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """RGB pictures to float32 [n, width], each row of unit length."""
        if not pictures:
            return np.empty((0, self.width), np.float32)
        batch = torch.stack([self.transform(picture) for picture in pictures]).to(self.device)
        with torch.inference_mode():
            return _rows(self.model.encode_image(batch, normalize=True))  # type: ignore[operator]

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Titles in normal form to float32 [n, width], each row of unit length."""
        if not titles:
            return np.empty((0, self.width), np.float32)
        tokens = self.tokenizer(list(titles)).to(self.device)
        with torch.inference_mode():
            return _rows(self.model.encode_text(tokens, normalize=True))  # type: ignore[operator]

    def cut(self, titles: Sequence[str]) -> int:
        """How many titles fill the context window: what follows its last token is not seen."""
        tokens = self.tokenizer(list(titles))
        return int((tokens[:, -1] != 0).sum()) if len(titles) else 0


def load(model: str, pretrained: str | None = None, device: str = "cpu") -> Encoder:
    """Load an encoder by open_clip name.

    Pickled checkpoints are never opened. Raises: InputError for an unknown name, a missing pretrained tag
    or weights that do not fit the architecture; StateError for a local folder that can't be read.
    """
    if not model.startswith(("local-dir:", "hf-hub:")) and not pretrained:
        raise InputError(
            f"encoder {model!r} has no weights: name a pretrained tag, or use hf-hub: or local-dir: names"
        )
    if model.startswith("local-dir:"):
        _check_folder(Path(model.removeprefix("local-dir:")))
    try:
        loaded, transform = open_clip.create_model_from_pretrained(
            model, pretrained=pretrained, device=device, weights_only=True
        )
        tokenizer = open_clip.get_tokenizer(model)
    except (RuntimeError, FileNotFoundError, KeyError) as error:
        raise InputError(
            f"encoder {model!r} ({pretrained or 'own weights'}) can't be loaded: {error}"
        ) from error
    return _encoder(loaded, transform, tokenizer, device)


def wrap(model: torch.nn.Module, tokenizer: Any, device: str = "cpu") -> Encoder:
    """An encoder around a model that has just been trained; the same as saving and loading it."""
    config = open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    return _encoder(model, open_clip.transform.image_transform_v2(config, is_train=False), tokenizer, device)


def save(model: torch.nn.Module, config: dict[str, Any], folder: Path) -> None:
    """Write a model as an open_clip folder: `config` is open_clip's own model configuration."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)
    content = {"model_cfg": config, "preprocess_cfg": model.visual.preprocess_cfg}  # type: ignore[union-attr]
    (folder / CONFIG).write_text(json.dumps(content, indent=1))


def _encoder(model: torch.nn.Module, transform: Transform, tokenizer: Any, device: str) -> Encoder:
    model.eval()
    side = model.visual.image_size  # type: ignore[union-attr]
    side = int(side if isinstance(side, int) else max(side))  # type: ignore[arg-type]
    with torch.inference_mode():
        width = int(model.encode_text(tokenizer(["a"]).to(device)).shape[1])  # type: ignore[operator]
    preprocessing = {
        "picture": model.visual.preprocess_cfg,  # type: ignore[union-attr]
        "tokenizer": [type(tokenizer).__name__, getattr(tokenizer, "context_length", None)],
        "title": FORM,
    }
    print_ = fingerprint_of(model, preprocessing)
    return Encoder(model, transform, tokenizer, width, side, print_, device)


def _check_folder(folder: Path) -> None:
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder} holds no {CONFIG}; a local-dir: encoder is an open_clip folder")
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder} holds no {WEIGHTS}; pickled checkpoints (.bin, .pt) are not opened")
    try:
        json.loads((folder / CONFIG).read_text())
    except ValueError as error:
        raise StateError(f"{folder / CONFIG} is damaged: {error}") from error


def _rows(vectors: torch.Tensor) -> np.ndarray:
    return vectors.float().cpu().numpy()
