"""The encoding of a model that asks the encoder models of the same server, inside the process (BLS)."""

from collections.abc import Sequence

import numpy as np
import triton_python_backend_utils as pb_utils

from mmprod.serving.encoding import check_title
from mmprod.serving.refused import Refused
from mmprod.serving.release import Release
from mmprod.storage.errors import StateError


class Busy(StateError):  # noqa: N818  (what a model is)
    """An encoder model takes no requests, as while the server ends: worth another try."""


class ComposedEncoding:
    """Vectors by the models text_encoder and image_encoder, so that all models share their batches."""

    def __init__(self, release: Release, width: int) -> None:
        self.fingerprint, self.width = release.encoder, width
        self._limits = release.limits

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Titles to float32 [n, width] of unit length. Raises: Refused, Busy, StateError."""
        normal = [check_title(title, self._limits).encode() for title in titles]
        return self._encode("text_encoder", "TITLE", normal)

    def pictures(self, pictures: Sequence[bytes]) -> np.ndarray:
        """Files of pictures to float32 [n, width] of unit length. Raises: Refused, Busy, StateError."""
        return self._encode("image_encoder", "PICTURE", pictures)

    def _encode(self, model: str, name: str, items: Sequence[bytes]) -> np.ndarray:
        """In as many requests as the limit of one makes necessary."""
        most = self._limits.titles
        parts = [items[start : start + most] for start in range(0, len(items), most)]
        return np.concatenate([self._ask(model, name, part) for part in parts])

    def _ask(self, model: str, name: str, items: Sequence[bytes]) -> np.ndarray:
        column = pb_utils.Tensor(name, np.array([[item] for item in items], np.object_))
        answer = pb_utils.InferenceRequest(
            model_name=model,
            requested_output_names=["VECTOR", "ENCODER"],
            inputs=[column],
        ).exec()
        if answer.has_error():
            raise _error(answer.error())
        found = {tensor.name(): tensor.as_numpy() for tensor in answer.output_tensors()}
        if (encoder := found["ENCODER"][0, 0].decode()) != self.fingerprint:
            raise StateError(
                f"{model} is of encoder {encoder}, this model of {self.fingerprint}: reload both"
            )
        vectors: np.ndarray = found["VECTOR"]
        return vectors


def _error(error: "pb_utils.TritonError") -> Exception:
    message = error.message()
    if error.code() == pb_utils.TritonError.UNAVAILABLE:
        return Busy(message)
    return Refused.parse(message) or StateError(message)
