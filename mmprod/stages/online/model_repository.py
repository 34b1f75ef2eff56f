"""The model repository: the shipped code, and config.pbtxt files rendered from the configuration."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from mmprod.sections import Serving
from mmprod.serving.repository import MODELS, Tuning, render
from mmprod.shipped import copy, tree
from mmprod.storage.errors import StateError
from mmprod.storage.files import replace_file


def tuning_of(section: Serving) -> Tuning:
    """The settings of the configuration that go into config.pbtxt."""
    return Tuning(
        batch=section.batch,
        delay=section.delay / 1000,
        threads=section.threads,
        instances=section.instances,
        cache_bytes=section.cache_bytes,
    )


def files(section: Serving) -> Iterator[tuple[Path, str]]:
    """Path and content of each rendered file: config.pbtxt for CPUs, configs/gpu.pbtxt for GPUs."""
    for model in MODELS:
        folder, tuning = Path(model.name), tuning_of(section)
        yield folder / "config.pbtxt", render(model, tuning, "cpu")
        yield folder / "configs" / "gpu.pbtxt", render(model, tuning, "gpu")


def repository(section: Serving, default: Path) -> Path:
    """The folder of the repository to serve: the configured one unchanged, else one written to `default`.

    Raises: StateError if the configured one is not a folder.
    """
    if section.models is None:
        shutil.rmtree(default, ignore_errors=True)
        write_repository(section, default)
        return default
    if not section.models.is_dir():
        missing = f"serving.models is {section.models}, which is not a folder"
        raise StateError(f"{missing}: run `mmprod triton render {section.models}`, or remove that key")
    return section.models


def write_repository(section: Serving, folder: Path) -> list[Path]:
    """Write a complete repository to `folder`; the paths of its config.pbtxt files, which are replaced.

    Raises: InputError if the folder has different model code; nothing is written then.
    """
    copy({name: path for name, path in tree("triton_models").items() if path.suffix == ".py"}, folder)
    paths = []
    for name, content in files(section):
        paths.append(folder / name)
        replace_file(paths[-1], content)
    return paths
