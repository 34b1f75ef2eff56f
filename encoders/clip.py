"""Encoders in torch: pictures and titles to unit vectors.

Names are open_clip's: ``ViT-B-32`` with a pretrained tag, ``hf-hub:org/name``, ``local-dir:folder``. A folder
may also be in transformers' format (Chinese-CLIP, BLIP); ``transformers:org/name`` downloads one from the
hub. mmprod's own checkpoints are ``local-dir:`` folders too.
"""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors import SafetensorError

from mmprod.datasets.forms import FORMS
from mmprod.datasets.images.geometry import Geometry
from mmprod.encoders import folders, tokens, towers
from mmprod.encoders.export.spec import Precision
from mmprod.encoders.fingerprint import fingerprint_of
from mmprod.encoders.folders import OPEN_CLIP as CONFIG
from mmprod.encoders.folders import OPEN_CLIP_WEIGHTS as WEIGHTS
from mmprod.encoders.pixels import Normalise, geometry_of
from mmprod.encoders.shapes import ROWS, ROWS_GPU, Batch, fixed
from mmprod.storage.errors import InputError, StateError

log = logging.getLogger(__name__)
LOCAL, TRANSFORMERS, HUB = "local-dir:", "transformers:", "hf-hub:"
DTYPES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
Transform = Callable[[Image.Image], torch.Tensor]


@dataclass(frozen=True)
class Encoder:
    """Both towers with their preprocessing, on one device, ready to encode.

    `width` is the dimension of the vectors, 0 for a BLIP that can only caption. `fingerprint` (64 hex digits)
    changes with weights, architecture, preprocessing, tokenizer or normal forms (`mmprod.datasets.forms`);
    everything made from the vectors records it. A vector does not depend on the other inputs of its batch
    (`mmprod.encoders.shapes`).
    """

    model: torch.nn.Module
    transform: Transform
    geometry: Geometry
    normalise: Normalise
    tokenizer: Any
    width: int
    fingerprint: str
    device: str
    precision: Precision = "fp32"  # of the arithmetic; below fp32, torch's autocast decides where it applies

    @property
    def backend(self) -> str:
        """Such as "torch-fp32"."""
        return f"torch-{self.precision}"

    def pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Encode RGB pictures: float32 [n, width], each row of unit length."""
        return self._images(len(pictures), lambda row: self.geometry.pixels(pictures[row]))

    def of_pixels(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """As `pictures`, for pixels as `geometry` makes them: uint8 [3, height, width] each."""
        return self._images(len(pixels), pixels.__getitem__)

    def _images(self, count: int, pixels: Callable[[int], np.ndarray]) -> np.ndarray:
        batches = fixed([0] * count, 0, self._rows)
        inputs = ((b, torch.from_numpy(np.stack([pixels(row) for row in b.rows]))) for b in batches)
        return self._through(self._encode_image, inputs, count)

    def _encode_image(self, pixels: torch.Tensor, normalize: bool) -> torch.Tensor:
        return self.model.encode_image(self.normalise(pixels), normalize=normalize)  # type: ignore[operator, no-any-return]

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Encode titles in normal form: float32 [n, width], each row of unit length.

        Titles of about equal length share a batch, so that little padding is computed.
        """
        return self.of_tokens(self.tokens(titles))

    def tokens(self, titles: Sequence[str]) -> np.ndarray:
        """The text tower's input for titles in normal form: int64 [n, context length], padded."""
        if not titles:
            return np.empty((0, int(self.tokenizer.context_length)), np.int64)
        return self.tokenizer(list(titles)).numpy()  # type: ignore[no-any-return]

    def of_tokens(self, tokens: np.ndarray) -> np.ndarray:
        """As `titles`, for tokens as `tokens` makes them."""
        all_, encode = torch.from_numpy(tokens), partial(towers.encode_text, self.model)
        lengths = towers.lengths(self.model, all_).tolist() if len(tokens) else []
        batches = fixed(lengths, tokens.shape[1], self._rows)
        return self._through(encode, ((b, all_[b.rows, : b.columns]) for b in batches), len(tokens))

    @property
    def _rows(self) -> int:
        return ROWS if self.device == "cpu" else ROWS_GPU

    def _through(self, tower: Any, inputs: Iterable[tuple[Batch, torch.Tensor]], count: int) -> np.ndarray:
        """The vectors of all batches' inputs, float32 [count, width]. Raises: MemoryError.

        On a GPU all batches are queued before the first result is waited for: while one is computed, the
        next is copied, from pinned memory.
        """
        vectors = np.empty((count, self.width), np.float32)
        try:
            with torch.inference_mode():
                queued = [(b, self._run(tower, self._there(some[b.filling]))) for b, some in inputs]
            for batch, found in queued:
                vectors[batch.rows] = found[: len(batch.rows)].float().cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error
        return vectors

    def _there(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs on the encoder's device."""
        if self.device == "cpu":
            return inputs
        return inputs.pin_memory().to(self.device, non_blocking=True)

    def _run(self, tower: Any, inputs: torch.Tensor) -> torch.Tensor:
        if self.precision == "fp32":
            return tower(inputs, normalize=True)  # type: ignore[no-any-return]
        with torch.autocast(torch.device(self.device).type, DTYPES[self.precision]):
            features = tower(inputs, normalize=False)
        return torch.nn.functional.normalize(features.float(), dim=-1)  # unit length to fp32's last bit

    def cut(self, tokens: np.ndarray) -> int:
        """Number of titles that fill the context window up to at most one token, so they may be truncated."""
        return int((tokens[:, -2] != self.tokens([""])[0, -1]).sum())


def load(model: str, pretrained: str | None = None, device: str = "cpu") -> Encoder:
    """Load an encoder by name.

    Pickled checkpoints are never opened. Raises: InputError for an unknown name, a missing pretrained tag
    or weights that do not fit the architecture; StateError for a local folder that can't be read.
    """
    if not model.startswith((LOCAL, TRANSFORMERS, HUB)) and not pretrained:
        raise InputError(
            f"encoder {model!r} has no weights: name a pretrained tag, "
            f"or use {HUB}, {TRANSFORMERS} or {LOCAL} names"
        )
    if model.startswith(TRANSFORMERS):
        model = LOCAL + str(folders.fetch(model.removeprefix(TRANSFORMERS)))
    if model.startswith(LOCAL) and (kind := folders.kind_of(Path(model.removeprefix(LOCAL)))) != "open_clip":
        return _load_folder(Path(model.removeprefix(LOCAL)), kind, device)
    try:
        loaded = open_clip.create_model(
            model, pretrained=pretrained, device=device, weights_only=True, require_pretrained=True
        )
        tokenizer = open_clip.get_tokenizer(model)
        loaded.open_clip_config = open_clip.get_model_config(model)
    except SafetensorError as error:
        raise StateError(f"encoder {model!r} has damaged weights: {error}") from error
    except (RuntimeError, OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"encoder {model!r} ({pretrained or 'own weights'}) can't be loaded: {error}"
        ) from error
    return wrap(loaded, tokenizer, device)


def wrap(model: torch.nn.Module, tokenizer: Any, device: str = "cpu") -> Encoder:
    """Make an encoder of a model in memory; equal to saving and loading it."""
    preprocessing = open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    transform = open_clip.transform.image_transform_v2(preprocessing, is_train=False)
    model.eval()
    described = {
        "picture": model.visual.preprocess_cfg,  # type: ignore[union-attr]
        "tokenizer": tokens.describe(tokenizer),
        "forms": FORMS,
    }
    print_, width = fingerprint_of(model, described), _width(model, tokenizer, device)
    geometry, normalise = geometry_of(model), Normalise(model).to(device)
    return Encoder(model, transform, geometry, normalise, tokenizer, width, print_, device)


def save(encoder: Encoder, folder: Path) -> None:
    """Write a folder from which `load` makes the same encoder: weights, configuration, tokenizer.

    open_clip models are saved in open_clip's format, others in transformers'. An open_clip model must have
    its configuration as attribute `open_clip_config`, which `load` sets; InputError for one without it.
    """
    model, tokenizer = encoder.model, encoder.tokenizer
    if isinstance(model, open_clip.CLIP | open_clip.CustomTextCLIP | open_clip.CoCa):
        _save_open_clip(model, tokenizer, folder)
        return
    from mmprod.encoders.blip.model import Blip, save_blip  # with transformers, which is optional
    from mmprod.encoders.chinese_clip import save_chinese_clip

    if isinstance(model, Blip):
        save_blip(model, tokenizer, folder)
    else:
        save_chinese_clip(model, tokenizer, folder)  # type: ignore[arg-type]


def _save_open_clip(model: Any, tokenizer: Any, folder: Path) -> None:
    config = getattr(model, "open_clip_config", None)
    if config is None:
        raise InputError(
            "this open_clip model has no attribute open_clip_config, so it can't be saved: set it to the "
            "model's configuration"
        )
    if hasattr(tokenizer, "save_pretrained"):  # any but open_clip's built-in one
        text = {"hf_tokenizer_name": "local", **config["text_cfg"]}  # any name: open_clip reads the folder
        config = {**config, "text_cfg": text}
        tokenizer.save_pretrained(folder)
    folders.save_weights(model, folder / WEIGHTS)
    content = {"model_cfg": config, "preprocess_cfg": model.visual.preprocess_cfg}
    (folder / CONFIG).write_text(json.dumps(content, indent=1))


def _load_folder(folder: Path, kind: str, device: str) -> Encoder:
    """Load a folder in transformers' format."""
    from mmprod.encoders.blip.model import load_blip  # with transformers, which is optional
    from mmprod.encoders.chinese_clip import load_chinese_clip

    model, tokenizer = load_blip(folder) if kind == "blip" else load_chinese_clip(folder)
    return wrap(model.to(device), tokenizer, device)


def _width(model: torch.nn.Module, tokenizer: Any, device: str) -> int:
    if not getattr(model, "retrieves", True):
        return 0
    with torch.inference_mode():
        return int(model.encode_text(tokenizer(["a"]).to(device)).shape[1])  # type: ignore[operator]
