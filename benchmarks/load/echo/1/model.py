"""What comes in goes out: the least that a model behind the server can cost."""

import os
import site
import sys

if folder := os.environ.get("MMPROD_SITE"):  # the backend leaves PYTHONPATH out of account
    sys.path.insert(0, folder)
    site.addsitedir(folder)

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """TITLE string [n, 1] → the same."""

    def execute(self, requests):  # type: ignore[no-untyped-def]
        """One response a request."""
        tensors = [pb_utils.get_input_tensor_by_name(request, "TITLE").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("TITLE", tensor)]) for tensor in tensors]
