"""Score thresholds: the lowest score at which two products count as the same item."""

import logging

from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.storage import artifacts, parquet

log = logging.getLogger(__name__)


def thresholds(lake: Lake, config: Config, profile: str, encoder: str) -> dict[str, float | None]:
    """Score thresholds by category: the configured ones, else those of the profile's evaluation.

    An evaluation's thresholds are used only if its survey was drawn from vectors of this `encoder`.
    """
    if profile in config.serving.thresholds:
        return dict(config.serving.thresholds[profile])
    name = artifacts.current(lake.evaluation(profile))
    if name is None:
        return {}
    if (judged := _judged_encoder(lake, profile, name)) != encoder:
        log.warning(
            "%s: the thresholds are of encoder %s, the index is of %s: no thresholds are used",
            profile,
            judged,
            encoder,
        )
        return {}
    rows = parquet.read(lake.evaluation(profile) / name / "thresholds.parquet").to_pylist()
    mine = (row for row in rows if row["system"] == profile and row["wanted"] == config.serving.precision)
    return {row["category"]: row["threshold"] for row in mine}


def _judged_encoder(lake: Lake, profile: str, evaluation: str) -> str | None:
    """Encoder of the recall table from which an evaluation's survey was drawn; None if it was removed."""
    survey = artifacts.Manifest.read(lake.evaluation(profile) / evaluation).inputs["survey"]
    folder = lake.survey(profile) / artifacts.Reference(survey).generation
    drawn = artifacts.Reference(artifacts.Manifest.read(folder).inputs["recall"].get(profile, ""))
    if drawn.generation not in artifacts.generations(lake.recall(profile)):
        return None
    manifest = artifacts.Manifest.read(lake.recall(profile) / drawn.generation)
    return str(manifest.inputs["encoder"]) if manifest.created_at == drawn.mark else None
