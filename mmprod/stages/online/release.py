"""Engine + index generations + thresholds → a release, which the online service serves as a whole."""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from mmprod.encoders.export.spec import Precision
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.serving.canaries import Canary, write_canaries
from mmprod.serving.release import ENGINE, INDEXES, Limits, Release, Served
from mmprod.serving.service import Service
from mmprod.serving.values import Product
from mmprod.stages.daily.index import encoder_of
from mmprod.stages.online.canaries import record_canaries
from mmprod.stages.outcome import Outcome, timed
from mmprod.storage import artifacts, parquet
from mmprod.storage.errors import InputError, StateError

log = logging.getLogger(__name__)
_TEXT = "red cotton dress"  # that a new release has to answer
_FORM = 2  # of a release's files: 2 has canaries


def make_release(lake: Lake, config: Config) -> Outcome:
    """Put the current engine and index generations of the served profiles into a release and switch to it.

    Nothing is copied where the file system can link. The release is opened and asked before the switch.
    Raises: StateError for profiles of different encoders, a missing engine or a release that doesn't answer:
    then the one before goes on serving.
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
        if name := artifacts.reusable(lake.releases, inputs, options):
            outcome.reused, outcome.detail = outcome.rows, {"generation": name}
            outcome.made[str(lake.releases)] = name
            return outcome
        with artifacts.publishing(lake.releases, "release", inputs, options) as draft:
            _place(engine, draft.path / ENGINE)
            profiles = {
                name: _served(lake, name, draft.path / INDEXES / name, limits[name])
                for name in section.profiles
            }
            release = Release(draft.path, encoder, section.precision, limits_of(config), profiles)
            release.write()
            write_canaries(draft.path, _ask(release))
            draft.counts |= {"profiles": len(profiles)}
        artifacts.switch(lake.releases, draft.generation)
        outcome.made[str(lake.releases)] = draft.generation
        outcome.changed, outcome.detail = outcome.rows, {"generation": draft.generation}
    return outcome


def export_served(lake: Lake, config: Config) -> Outcome:
    """Export the configured encoder in the form that is served, as `export_engine` does."""
    from mmprod.stages.training.export import export_engine  # slow to import

    precision: Precision = "fp16" if config.serving.engine == "onnx-fp16" else "fp32"
    return export_engine(lake, config, "onnx", precision, ("image", "text"))


def current_release(lake: Lake) -> Release:
    """The release in use, its files not verified yet. Raises: StateError before the first."""
    name = artifacts.current(lake.releases)
    if name is None:
        raise StateError(f"nothing to serve in {lake.root}: run `mmprod release` first")
    return Release.read(lake.releases / name)


def limits_of(config: Config) -> Limits:
    """What the configuration lets one request ask for."""
    section = config.serving
    pixels = config.images.max_pixels
    return Limits(section.batch, section.text_bytes, section.image_bytes, pixels, section.max_k)


def thresholds(lake: Lake, config: Config, profile: str, encoder: str) -> dict[str, float | None]:
    """Scores from which on a pair is the same item, by category: the configured ones, else the review's.

    Those of an evaluation are used only where its survey was drawn from vectors of this encoder.
    """
    if profile in config.serving.thresholds:
        return dict(config.serving.thresholds[profile])
    name = artifacts.current(lake.evaluation(profile))
    if name is None:
        return {}
    if (judged := _judged_encoder(lake, profile, name)) != encoder:
        log.warning("%s: thresholds are of encoder %s, the index of %s: none used", profile, judged, encoder)
        return {}
    rows = parquet.read(lake.evaluation(profile) / name / "thresholds.parquet").to_pylist()
    mine = (row for row in rows if row["system"] == profile and row["wanted"] == config.serving.precision)
    return {row["category"]: row["threshold"] for row in mine}


def _judged_encoder(lake: Lake, profile: str, evaluation: str) -> str | None:
    """Fingerprint behind an evaluation: of the recall table that its survey was drawn from; None if gone."""
    survey = artifacts.Manifest.read(lake.evaluation(profile) / evaluation).inputs["survey"].split()[0]
    drawn = artifacts.Manifest.read(lake.survey(profile) / survey).inputs["recall"].get(profile, "")
    generation, _, made = drawn.partition(" ")
    if generation not in artifacts.generations(lake.recall(profile)):
        return None
    manifest = artifacts.Manifest.read(lake.recall(profile) / generation)
    return str(manifest.inputs["encoder"]) if manifest.created_at == made else None


def _encoder(lake: Lake, config: Config) -> str:
    """The one encoder of all served profiles."""
    found = {name: encoder_of(lake, name) for name in config.serving.profiles}
    if not found:
        raise InputError("serving.profiles is empty: name what to serve")
    if len(set(found.values())) > 1:
        raise StateError(
            f"indexes of different encoders can't be served together: {found}; run `mmprod index`"
        )
    return next(iter(found.values()))


def _engine(lake: Lake, config: Config, encoder: str) -> Path:
    form = config.serving.engine
    root = lake.engines(config.encoder.model, encoder, form)
    if artifacts.current(root) is None:
        kind, _, precision = form.partition("-")
        cure = f"run `mmprod export {kind} --precision {precision}`"
        raise StateError(f"encoder {encoder[:12]} of the index has no engine {form}: {cure}")
    return root


def _served(lake: Lake, profile: str, target: Path, limits: Mapping[str, float | None]) -> Served:
    files = _place(lake.index(profile), target)
    return Served(artifacts.current(lake.index(profile)) or "", files, limits)


def _place(root: Path, target: Path) -> Mapping[str, str]:
    """The files of the current generation below `root`, linked or copied into a new folder; their sha256."""
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


def _ask(release: Release) -> list[Canary]:
    """What any server has to answer, as this process does. Raises: StateError where that makes no sense."""
    service = Service.open(release, threads=1)
    for name in release.profiles:
        found = service.search(Product(title=_TEXT), 1, name, as_text=True)
        twin = Product(product_id=found.product_ids[0])
        score = service.similarity([(twin, twin)], name)[0].score
        if not 0.0 < score < 1.01:
            raise StateError(f"{name}: a product scores {score} with itself, want at most 1")
    return record_canaries(service)
