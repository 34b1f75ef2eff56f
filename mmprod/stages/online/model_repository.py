"""The model repository's config.pbtxt files, from the configuration."""

from collections.abc import Iterator
from pathlib import Path

from mmprod.sections import Config, Serving
from mmprod.serving.repository import MODELS, Tuning, render
from mmprod.storage.files import replace_file


def tuning_of(section: Serving) -> Tuning:
    """What of the configuration Triton has to know."""
    return Tuning(
        batch=section.batch,
        delay=section.delay / 1000,
        threads=section.threads,
        instances=section.instances,
        cache_bytes=section.cache_bytes,
    )


def files(section: Serving) -> Iterator[tuple[Path, str]]:
    """Each file below the repository with its content: config.pbtxt for CPUs, configs/gpu.pbtxt for GPUs."""
    for model in MODELS:
        folder, tuning = Path(model.name), tuning_of(section)
        yield folder / "config.pbtxt", render(model, tuning, "cpu")
        yield folder / "configs" / "gpu.pbtxt", render(model, tuning, "gpu")


def render_repository(config: Config) -> list[Path]:
    """Write them all; their paths."""
    paths = []
    for name, content in files(config.serving):
        paths.append(config.serving.models / name)
        replace_file(paths[-1], content)
    return paths
