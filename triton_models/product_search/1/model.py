"""A text, a picture or a product in, the products that fit best out."""

import os
import site
import sys

if folder := os.environ.get("MMPROD_SITE"):  # the backend leaves PYTHONPATH out of account
    sys.path.insert(0, folder)
    site.addsitedir(folder)

from mmprod.serving.models import SearchModel


class TritonPythonModel(SearchModel):
    """TEXT, or ID, or TITLE and PICTURE; PROFILE, FILTER: strings [1], as given; K int32 [1]
    → PRODUCT_ID string [k], SCORE, IMAGE_SCORE, TEXT_SCORE float32 [k]; GENERATION, ENCODER string [1]."""
