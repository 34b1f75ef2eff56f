"""Pictures in, unit vectors out."""

import os
import site
import sys

if folder := os.environ.get("MMPROD_SITE"):  # the backend leaves PYTHONPATH out of account
    sys.path.insert(0, folder)
    site.addsitedir(folder)

from mmprod.serving.models import EncoderModel


class TritonPythonModel(EncoderModel):
    """PICTURE string [n, 1], the bytes of files → VECTOR float32 [n, d], ENCODER string [n, 1]."""

    tower = "image"
