"""Builds releases: an engine, index generations and thresholds that the online service serves together."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.serving.canaries import Canary, write_canaries
from mmprod.serving.release import ENGINE, INDEXES, Limits, Release, ServedProfile
from mmprod.serving.service import Service
from mmprod.serving.types import Product
from mmprod.stages.online.canaries import record_canaries
from mmprod.stages.open_index import encoder_of
from mmprod.stages.outcome import Outcome, timed
from mmprod.stages.publish import reuse_or_publish
from mmprod.stages.thresholds import thresholds
from mmprod.storage import artifacts
from mmprod.storage.errors import InputError, StateError

_TEXT = "red cotton dress"  # a search that a new release has to answer
_FORM = 2  # version of a release's files: 2 has canaries


def make_release(lake: Lake, config: Config) -> Outcome:
    """Build a release of the current engine and index generations of the served profiles, and switch to it.

    Files are linked, or copied where the file system has no links. The release is opened and tried before the
    switch. Raises: StateError for profiles of different encoders, a missing engine or a release that fails;
    the current release stays in use then.
    """
    section = config.serving
    with timed("release") as outcome:
        encoder = _encoder(lake, config)
        engine = _engine(lake, config, encoder)
        limits = {name: thresholds(lake, config, name, encoder) for name in section.profiles}
        inputs = {
            "encoder": encoder,
            "engine": artifacts.reference(engine),
            "indexes": {name: artifacts.reference(lake.index(name)) for name in section.profiles},
            "thresholds": limits,
        }
        options = section.model_dump(mode="json", include={"precision", "batch", "max_k"})
        options |= {"limits": vars(limits_of(config)), "form": _FORM}
        outcome.rows = len(section.profiles)
        with reuse_or_publish(outcome, lake.releases, "release", inputs, options) as draft:
            if not draft.reused:
                _link_generation(engine, draft.path / ENGINE)
                profiles = {
                    name: _served(lake, name, draft.path / INDEXES / name, limits[name])
                    for name in section.profiles
                }
                release = Release(draft.path, encoder, section.precision, limits_of(config), profiles)
                release.write()
                write_canaries(draft.path, _try(release))
                draft.counts |= {"profiles": len(profiles)}
    return outcome


def current_release(lake: Lake) -> Release:
    """The release in use; its files are not verified. Raises: StateError if there is none."""
    name = artifacts.current(lake.releases)
    if name is None:
        raise StateError(f"nothing to serve in {lake.root}: run `mmprod release build` first")
    return Release.read(lake.releases / name)


def limits_of(config: Config) -> Limits:
    """The limits of a request from the configuration."""
    section = config.serving
    pixels = config.images.max_pixels
    return Limits(section.batch, section.text_bytes, section.image_bytes, pixels, section.max_k)


def _encoder(lake: Lake, config: Config) -> str:
    """The one encoder of all served profiles."""
    encoders = {name: encoder_of(lake, name) for name in config.serving.profiles}
    if not encoders:
        raise InputError("serving.profiles is empty: name the profiles to serve")
    if len(set(encoders.values())) > 1:
        raise StateError(
            f"indexes of different encoders can't be served together: {encoders}; run `mmprod index build`"
        )
    return next(iter(encoders.values()))


def _engine(lake: Lake, config: Config, encoder: str) -> Path:
    form = config.serving.engine
    root = lake.engines(config.encoder.model, encoder, form)
    if artifacts.current(root) is None:
        kind, _, precision = form.partition("-")
        cure = f"run `mmprod export {kind} --precision {precision}`"
        raise StateError(f"encoder {encoder[:12]} of the index has no engine {form}: {cure}")
    return root


def _served(lake: Lake, profile: str, target: Path, limits: Mapping[str, float | None]) -> ServedProfile:
    files = _link_generation(lake.index(profile), target)
    return ServedProfile(artifacts.current(lake.index(profile)) or "", files, limits)


def _link_generation(root: Path, target: Path) -> Mapping[str, str]:
    """Link or copy the files of the current generation below `root` to a new folder; their sha256 by name."""
    target.mkdir(parents=True)
    with artifacts.opened(root) as opened:
        for name in opened.manifest.files:
            _link(opened.path / name, target / name)
        return opened.manifest.files


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _try(release: Release) -> list[Canary]:
    """Search and compare with a new release; its canaries. Raises: StateError for an implausible score."""
    service = Service.open(release, threads=1)
    for name in release.profiles:
        nearest = service.search(Product(title=_TEXT), 1, name, as_text=True)
        product = Product(product_id=nearest.product_ids[0])
        score = service.similarity([(product, product)], name)[0].score
        if not 0.0 < score < 1.01:
            raise StateError(f"{name}: a product scores {score} with itself, want at most 1")
    return record_canaries(service)
