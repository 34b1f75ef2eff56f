"""Encoding by calls to the encoder models of the same Triton server, without the network.

Triton calls this business logic scripting (BLS). Importable in Triton's Python backend only.
"""

from collections.abc import Sequence

import numpy as np
import triton_python_backend_utils as pb_utils

from mmprod.serving.encoding import check_title
from mmprod.serving.errors import Busy, Refused
from mmprod.serving.release import Release
from mmprod.storage.errors import StateError


class BlsEncoding:
    """Vectors from the models text_encoder and image_encoder, so that all models share their batches."""

    def __init__(self, release: Release, width: int) -> None:
        self.fingerprint, self.width = release.encoder, width
        self._limits = release.limits

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Titles to float32 [n, width] of unit length. Raises: Refused, Busy, StateError."""
        normal = [check_title(title, self._limits).encode() for title in titles]
        return self._encode("text_encoder", "TITLE", normal)

    def pictures(self, pictures: Sequence[bytes]) -> np.ndarray:
        """Picture files to float32 [n, width] of unit length. Raises: Refused, Busy, StateError."""
        return self._encode("image_encoder", "PICTURE", pictures)

    def _encode(self, model: str, name: str, items: Sequence[bytes]) -> np.ndarray:
        """In as many requests as the limit per request requires."""
        most = self._limits.titles
        parts = [items[start : start + most] for start in range(0, len(items), most)]
        return np.concatenate([self._infer(model, name, part) for part in parts])

    def _infer(self, model: str, name: str, items: Sequence[bytes]) -> np.ndarray:
        column = pb_utils.Tensor(name, np.array([[item] for item in items], np.object_))
        response = pb_utils.InferenceRequest(
            model_name=model,
            requested_output_names=["VECTOR", "ENCODER"],
            inputs=[column],
        ).exec()
        if response.has_error():
            raise _error(response.error())
        outputs = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
        if (encoder := outputs["ENCODER"][0, 0].decode()) != self.fingerprint:
            raise StateError(f"{model} has encoder {encoder}, this model {self.fingerprint}: reload both")
        vectors: np.ndarray = outputs["VECTOR"]
        return vectors


def _error(error: "pb_utils.TritonError") -> Exception:
    message = error.message()
    if error.code() == pb_utils.TritonError.UNAVAILABLE:
        return Busy(message)
    return Refused.parse(message) or StateError(message)
