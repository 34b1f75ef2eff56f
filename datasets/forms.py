"""Versions of the normal forms in which an encoder gets titles and pictures.

Vectors made from different forms can't be compared. So the versions are part of the encoder's fingerprint and
are stored with each fingerprint.
"""

from mmprod.datasets.text import FORM as TITLE

PICTURE = "srgb-1"
"""Version of the output of `mmprod.datasets.images.images.decode`: change it when the output changes."""
FORMS = {"title": TITLE, "picture": PICTURE}
