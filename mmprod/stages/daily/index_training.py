"""Whether tonight's index takes over the training of the one before: its clusters or codebooks.

Training is more than half of the work of building an index, and 1 % of other vectors hardly moves a cluster.
The gate measures recall all the same, and an index that fails is trained anew.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmprod.retrieval import folder, index
from mmprod.sections import Config
from mmprod.storage import artifacts

if TYPE_CHECKING:
    import faiss

AGE = "trained_for"
"""The count in a manifest: how many generations have used this training, this one included."""

_AUTOMATIC = re.compile(r"IVF(\d+),Flat")
_DRIFT = 1.25  # by how much the number of lists may differ from the best one


class Training(NamedTuple):
    """An empty index that is trained, its factory string, and the generations that have used it so far."""

    empty: "faiss.Index"
    factory: str
    age: int


def index_options(config: Config, profile: str) -> dict[str, Any]:
    """The settings that an index is made with, for its manifest."""
    chosen = config.profile(profile).model_dump()
    return {**chosen, "factory": config.index.factory, "nprobe": config.index.nprobe}


def training_of(before: Path, config: Config, profile: str, encoder: str, factory: str) -> Training | None:
    """The training of the sound generation `before`, if an index with `factory` may use it."""
    if not (before / folder.TRAINING).exists():
        return None
    made = artifacts.Manifest.read(before)
    age = int(made.counts[AGE])
    same = made.inputs["encoder"] == encoder and made.config == index_options(config, profile)
    if not same or age >= config.index.trained_for or not _near(made.counts["factory"], factory, config):
        return None
    empty = index.read(before / folder.TRAINING, made.files[folder.TRAINING], mapped=False)
    return Training(empty, made.counts["factory"], age)


def _near(before: str, now: str, config: Config) -> bool:
    if config.index.factory != "auto":
        return before == now
    found = [_AUTOMATIC.fullmatch(factory) for factory in (before, now)]
    if not all(found):
        return False
    few, many = sorted(int(match[1]) for match in found if match)
    return many <= _DRIFT * few
