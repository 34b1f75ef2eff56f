"""Two products in, how alike they are out."""

import os
import site
import sys

if folder := os.environ.get("MMPROD_SITE"):  # the backend leaves PYTHONPATH out of account
    sys.path.insert(0, folder)
    site.addsitedir(folder)

from mmprod.serving.models import SimilarityModel


class TritonPythonModel(SimilarityModel):
    """A_ID or A_TITLE, A_PICTURE, A_CATEGORY; B_ID or B_TITLE, B_PICTURE; PROFILE: strings [n, 1], as given
    → SCORE, IMAGE_SCORE, TEXT_SCORE, THRESHOLD float32 [n, 1], NaN where there is none;
    VERDICT, GENERATION, ENCODER string [n, 1]."""
