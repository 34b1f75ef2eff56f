"""The source of a delivery's pictures: the image root and the network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmprod.datasets.images.images import BadImage, read_image_path

if TYPE_CHECKING:
    from mmprod.datasets.images.fetch import Fetcher


@dataclass(frozen=True)
class PictureSource:
    """Reads pictures below `root` and fetches others with `fetcher`; None: such pictures are refused."""

    root: Path | None = None
    fetcher: "Fetcher | None" = None

    def read(self, path: str) -> bytes | str:
        """The bytes at `path` below the root, or the reason why there are none.

        Raises: MemoryError or OSError when the machine fails or lacks memory or file descriptors.
        """
        if self.root is None:
            return "no_image_root"
        try:
            return read_image_path(path, self.root)
        except BadImage as bad:
            return bad.reason

    def fetch(self, urls: Sequence[str]) -> list[bytes | str]:
        """The bytes at each address, or the reason why there are none."""
        if not urls or self.fetcher is None:
            return ["fetching_is_off"] * len(urls)
        return self.fetcher.fetch_many(urls)
