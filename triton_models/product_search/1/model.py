"""A text, a picture or a product to the nearest products."""

import os
import site
import sys

if folder := os.environ.get("MMPROD_SITE"):  # the backend ignores PYTHONPATH
    sys.path.insert(0, folder)
    site.addsitedir(folder)

from mmprod.serving.models import SearchModel


class TritonPythonModel(SearchModel):
    """TEXT, or ID, or TITLE and PICTURE; PROFILE, FILTER (a category): strings [1]; K int32 [1]
    → PRODUCT_ID string [k], SCORE, IMAGE_SCORE, TEXT_SCORE float32 [k]; GENERATION, ENCODER string [1]."""
