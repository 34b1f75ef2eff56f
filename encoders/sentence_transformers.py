"""Encoders run by sentence-transformers: whatever its `encode` takes pictures and texts for.

That is how multimodal language models are often published as encoders. A model is a folder with modules.json,
or a Hugging Face repository of that form. Only safetensors weights are read, and no code of the repository.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from huggingface_hub import snapshot_download
from PIL import Image
from safetensors import SafetensorError

from mmprod.datasets.forms import FORMS
from mmprod.datasets.images.geometry import Geometry
from mmprod.datasets.lazy import lazy
from mmprod.encoders.fingerprint import fingerprint_of
from mmprod.encoders.shapes import ROWS, ROWS_GPU
from mmprod.storage.errors import InputError, StateError

sentence_transformers, transformers = lazy("sentence_transformers"), lazy("transformers")  # optional

LIMIT = 1024
"""Pixels of the longer side of pictures for a model that takes them in any size."""
_WANTED = ["*.json", "*.txt", "*.jinja", "*.model", "*.safetensors"]
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass(frozen=True)
class SentenceEncoder:
    """A model of sentence-transformers; see `mmprod.encoders.encoder`.

    The model tokenises by itself, so the tokens of a title are its code points here, padded with 0.
    """

    model: Any
    geometry: Geometry
    width: int
    fingerprint: str
    rows: int
    backend: ClassVar[str] = "sentence-transformers"

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Encode titles in normal form: float32 [n, width], each row of unit length."""
        return self._encode(list(titles))

    def tokens(self, titles: Sequence[str]) -> np.ndarray:
        """Code points of titles: int64 [n, longest], padded with 0."""
        tokens = np.zeros((len(titles), max(map(len, titles), default=1)), np.int64)
        for row, title in zip(tokens, titles, strict=True):
            row[: len(title)] = [ord(letter) for letter in title]
        return tokens

    def of_tokens(self, tokens: np.ndarray) -> np.ndarray:
        """As `titles`, for tokens as `tokens` makes them."""
        return self._encode(_texts(tokens))

    def pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Encode RGB pictures: float32 [n, width], each row of unit length."""
        return self.of_pixels([self.geometry.pixels(picture) for picture in pictures])

    def of_pixels(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """As `pictures`, for pixels as `geometry` makes them: uint8 [3, height, width], of any sizes."""
        return self._encode([Image.fromarray(np.ascontiguousarray(one.transpose(1, 2, 0))) for one in pixels])

    def cut(self, tokens: np.ndarray) -> int:
        """Number of titles with more tokens than the model reads."""
        most, tokenizer = self.model.max_seq_length, self.model.tokenizer
        if most is None or tokenizer is None:
            return 0
        found = tokenizer(_texts(tokens), truncation=False, verbose=False)["input_ids"]
        return sum(len(one) > most for one in found)

    def _encode(self, inputs: list[Any]) -> np.ndarray:
        """Raises: MemoryError."""
        if not inputs:
            return np.empty((0, self.width), np.float32)
        try:
            return _encode(self.model, inputs, self.rows)
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error


def load(name: str, device: str = "cpu") -> SentenceEncoder:
    """Load a model from a folder, or a repository ``org/name`` or ``org/name@revision``.

    Raises: InputError if sentence-transformers is missing, if there is no such model, if its weights are
    pickles, or if it does not take both pictures and texts; StateError for damaged weights.
    """
    folder = _folder(name)
    _check_weights(folder)
    model = _open(folder, device)
    if lacking := [kind for kind in ("image", "text") if not model.supports(kind)]:
        raise InputError(f"the model {name} takes no {lacking[0]} by itself: want one for images and texts")
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".txt", ".jinja", ".model"))
    described = {
        "files": [(str(f.relative_to(folder)), hashlib.sha256(f.read_bytes()).hexdigest()) for f in files],
        "forms": FORMS,
    }
    width, geometry = _encode(model, ["a"], 1).shape[1], _geometry(model)
    rows = ROWS if device == "cpu" else ROWS_GPU
    return SentenceEncoder(model, geometry, width, fingerprint_of(model, described), rows)


def _folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=_WANTED))
    except (OSError, ValueError) as error:
        raise InputError(f"{name} is no folder, and as a repository it is not available: {error}") from error


def _check_weights(folder: Path) -> None:
    """Raise InputError for a folder that is no such model, or one of whose modules has a pickle only."""
    if not (folder / "modules.json").is_file():
        raise InputError(f"{folder} holds no modules.json: it is no model of sentence-transformers")
    for path in sorted(folder.rglob("*")):
        if path.suffix in _PICKLES and not any(path.parent.glob("*.safetensors")):
            raise InputError(f"{path} is a pickle, which is not opened: want safetensors")
    if not any(folder.rglob("*.safetensors")):
        raise InputError(f"{folder} holds no weights (*.safetensors)")


def _open(folder: Path, device: str) -> Any:
    try:
        transformers.utils.logging.disable_progress_bar()
        return sentence_transformers.SentenceTransformer(
            str(folder), device=device, local_files_only=True, model_kwargs={"use_safetensors": True}
        ).eval()
    except ImportError as error:
        raise InputError(
            f"the encoder needs sentence-transformers: pip install 'mmprod[sentence-transformers]' ({error})"
        ) from error
    except SafetensorError as error:
        raise StateError(f"{folder} has damaged weights: {error}") from error
    except (RuntimeError, OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{folder} can't be loaded by sentence-transformers: {error}") from error


def _encode(model: Any, inputs: list[Any], rows: int) -> np.ndarray:
    found = model.encode(inputs, batch_size=rows, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(found, np.float32)


def _texts(tokens: np.ndarray) -> list[str]:
    return ["".join(map(chr, row[row > 0].tolist())) for row in tokens]


def _geometry(model: Any) -> Geometry:
    """The one size that the model's processor makes of all pictures; else they stay whole, up to LIMIT."""
    processor = getattr(model.processor, "image_processor", model.processor)
    size, crop = (dict(getattr(processor, name, None) or {}) for name in ("size", "crop_size"))
    filter_: Any = _FILTERS.get(getattr(processor, "resample", None) or 0, "bicubic")
    if not getattr(processor, "do_resize", False):
        return Geometry(LIMIT, LIMIT, "whole", filter_, 0)
    if not getattr(processor, "do_center_crop", False) and size.get("height") and size.get("width"):
        return Geometry(size["height"], size["width"], "squash", filter_, 0)
    if size.get("shortest_edge") and set(crop.values()) == {size["shortest_edge"]}:
        return Geometry(crop["height"], crop["width"], "shortest", filter_, 0)
    side = min(LIMIT, math.isqrt(getattr(processor, "max_pixels", None) or LIMIT**2))
    return Geometry(side, side, "whole", filter_, 0)
