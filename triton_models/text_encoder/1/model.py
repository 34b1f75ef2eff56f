"""Titles to unit vectors."""

import os
import site
import sys

if folder := os.environ.get("MMPROD_SITE"):  # the backend ignores PYTHONPATH
    sys.path.insert(0, folder)
    site.addsitedir(folder)

from mmprod.serving.models import EncoderModel


class TritonPythonModel(EncoderModel):
    """TITLE string [n, 1] → VECTOR float32 [n, d], ENCODER string [n, 1]."""

    tower = "text"
