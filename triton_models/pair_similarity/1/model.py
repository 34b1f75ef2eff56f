"""Pairs of products to their similarity."""

import os
import site
import sys

if folder := os.environ.get("MMPROD_SITE"):  # the backend ignores PYTHONPATH
    sys.path.insert(0, folder)
    site.addsitedir(folder)

from mmprod.serving.models import SimilarityModel


class TritonPythonModel(SimilarityModel):
    """A_ID, or A_TITLE, A_PICTURE, A_CATEGORY; the same with B_; PROFILE: strings [n, 1]
    → SCORE, IMAGE_SCORE, TEXT_SCORE, THRESHOLD float32 [n, 1], NaN if there is none;
    VERDICT, GENERATION, ENCODER string [n, 1]."""
