"""The encoding of a model that asks the encoder models of the same server, inside the process (BLS)."""

from collections.abc import Sequence

import numpy as np
import triton_python_backend_utils as pb_utils

from mmprod.datasets.errors import StateError
from mmprod.serving.encoding import check_title
from mmprod.serving.refused import Refused
from mmprod.serving.release import Release


class ComposedEncoding:
    """Vectors by the models text_encoder and image_encoder, so that all models share their batches."""

    def __init__(self, release: Release, width: int) -> None:
        self.fingerprint, self.width = release.encoder, width
        self._limits = release.limits

    def titles(self, titles: Sequence[str]) -> np.ndarray:
        """Titles to float32 [n, width] of unit length. Raises: Refused."""
        normal = [check_title(title, self._limits).encode() for title in titles]
        return self._ask("text_encoder", "TITLE", normal)

    def pictures(self, pictures: Sequence[bytes]) -> np.ndarray:
        """Files of pictures to float32 [n, width] of unit length. Raises: Refused."""
        return self._ask("image_encoder", "PICTURE", pictures)

    def _ask(self, model: str, name: str, items: Sequence[bytes]) -> np.ndarray:
        column = pb_utils.Tensor(name, np.array([[item] for item in items], np.object_))
        request = pb_utils.InferenceRequest(
            model_name=model, requested_output_names=["VECTOR", "ENCODER"], inputs=[column]
        )
        answer = request.exec()
        if answer.has_error():
            raise _error(answer.error().message())
        found = {tensor.name(): tensor.as_numpy() for tensor in answer.output_tensors()}
        if (encoder := found["ENCODER"][0, 0].decode()) != self.fingerprint:
            raise StateError(
                f"{model} is of encoder {encoder}, this model of {self.fingerprint}: reload both"
            )
        vectors: np.ndarray = found["VECTOR"]
        return vectors


def _error(message: str) -> Exception:
    return Refused.parse(message) or StateError(message)
