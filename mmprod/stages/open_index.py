"""The index that a profile is searched in: opening it, and which encoder it is of."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmprod.lake import Lake
from mmprod.retrieval.generation import Generation
from mmprod.storage import artifacts


@contextmanager
def open_index(lake: Lake, profile: str, generation: str | None = None) -> Iterator[Generation]:
    """Open a profile's index generation (default: the current one), every file verified."""
    with artifacts.opened(lake.index(profile), generation, checked=False) as opened:
        yield Generation.open(opened.path, opened.manifest.files)


def encoder_of(lake: Lake, profile: str) -> str:
    """The fingerprint of the encoder of a profile's current index."""
    with artifacts.opened(lake.index(profile), checked=False) as opened:
        return str(opened.manifest.inputs["encoder"])
