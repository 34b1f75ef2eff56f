"""Products in, their vectors out."""

import os
import site
import sys

if folder := os.environ.get("MMPROD_SITE"):  # the backend leaves PYTHONPATH out of account
    sys.path.insert(0, folder)
    site.addsitedir(folder)

from mmprod.serving.models import ProductModel


class TritonPythonModel(ProductModel):
    """TITLE, PICTURE, either or both: string [n, 1], empty where a product has none
    → IMAGE, TEXT float32 [n, d], zeros where it has none; ENCODER string [n, 1]."""
