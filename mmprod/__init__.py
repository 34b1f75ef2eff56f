"""Turns a marketplace's product catalogue into multimodal embeddings, and answers queries with them."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmprod.api import OpenLake

__version__ = "0.1.0"
__all__ = ["__version__", "open"]


def open(folder: "str | Path | None" = None, config: "str | Path | None" = None) -> "OpenLake":
    """Open a lake for queries; `mmprod.api.OpenLake` lists the methods.

    `folder`: the lake. If not given, the one named by the configuration file `config` (default: mmprod.toml
    in the working folder, if it exists). Raises: InputError for an invalid configuration.
    """
    from mmprod.api import open_lake  # importing mmprod imports nothing heavy

    return open_lake(folder, config)
