"""The normal forms that an encoder sees titles and pictures in, by version.

Vectors of other forms can't be compared, so the versions stand in the encoder's fingerprint, and beside each
fingerprint that is kept.
"""

from mmprod.datasets.text import FORM as TITLE

PICTURE = "srgb-1"
"""Version of what `mmprod.datasets.images.images.decode` makes of a picture: change it when that changes."""
FORMS = {"title": TITLE, "picture": PICTURE}
