"""Products to their image and text vectors."""

import os
import site
import sys

if folder := os.environ.get("MMPROD_SITE"):  # the backend ignores PYTHONPATH
    sys.path.insert(0, folder)
    site.addsitedir(folder)

from mmprod.serving.models import ProductModel


class TritonPythonModel(ProductModel):
    """TITLE, PICTURE, either or both: string [n, 1], empty if a product has none
    → IMAGE, TEXT float32 [n, d], zeros for what is missing; ENCODER string [n, 1]."""
