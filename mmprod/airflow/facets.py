"""A task's inputs and outputs as OpenLineage datasets; called only by the provider, after a task's end.

Datasets have the namespace `file`; their name is the path of the artifact's folder. In addition to the
standard facets, `mmprod_artifact` holds the manifest (inputs, options, counts, the gate's results, library
versions), and the run facet `mmprod_outcome` the counts of its stages.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow.providers.openlineage.extractors import OperatorLineage
from attrs import define
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    DatasetFacet,
    RunFacet,
    data_quality_assertions_dataset,
    dataset_version_dataset,
    input_statistics_input_dataset,
    output_statistics_output_dataset,
)

from mmprod.airflow import outcomes
from mmprod.airflow.lineage import Dataset, sources

_NAMESPACE = "file"


@define
class ArtifactFacet(DatasetFacet):
    """A manifest without its list of files."""

    manifest: dict[str, Any]


@define
class OutcomeFacet(RunFacet):
    """Counts of each stage that ran: rows, changed, reused, refused, and the stage's own details."""

    stages: dict[str, Any]


def lineage(words: Sequence[str], lake: Path, content: Any) -> OperatorLineage:
    """Inputs and outputs of the command ``mmprod WORDS``; `content`: its JSON, None if it printed none."""
    made = [Dataset.read(Path(root), version) for root, version in outcomes.made(content).items()]
    read = _table(words, made) + [source for one in made for source in sources(lake, one)]
    return OperatorLineage(
        inputs=[_input(one) for one in _once(read)],
        outputs=[_output(one) for one in made],
        run_facets={"mmprod_outcome": OutcomeFacet(stages=outcomes.summary(content))},
    )


def _table(words: Sequence[str], made: Sequence[Dataset]) -> list[Dataset]:
    """The product table given to the command, with its fingerprint if a manifest has it."""
    if "--table" not in words:
        return []
    fingerprint = next((one.inputs["table"] for one in made if "table" in one.inputs), "")
    return [Dataset(Path(words[words.index("--table") + 1]), fingerprint)]


def _once(datasets: Sequence[Dataset]) -> list[Dataset]:
    return list({one.path: one for one in datasets}.values())


def _input(one: Dataset) -> InputDataset:
    facets: dict[str, Any] = {}
    if one.files or one.path.is_file():
        statistics = input_statistics_input_dataset.InputStatisticsInputDatasetFacet
        facets["inputStatistics"] = statistics(one.rows, one.size, len(one.files) or 1)
    if gate := one.counts.get("gate"):
        assertions = [_assertion(check) for check in gate["checks"]]
        quality = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet
        facets["dataQualityAssertions"] = quality(assertions)
    return InputDataset(_NAMESPACE, str(one.path), inputFacets=facets, facets=_version(one))


def _assertion(check: dict[str, Any]) -> Any:
    """A check of the gate, e.g. recall@10 = 1.0 with limit .95."""
    return data_quality_assertions_dataset.Assertion(
        assertion=outcomes.check_name(check),
        success=check.get("ok", True),  # a refused engine is not published
        expected=str(check["limit"]),
        actual=str(check["value"]),
    )


def _output(one: Dataset) -> OutputDataset:
    facets = _version(one)
    if one.about:
        facets["mmprod_artifact"] = ArtifactFacet(manifest=dict(one.about))
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
    counted = {"outputStatistics": statistics(one.rows, one.size, len(one.files))} if one.files else {}
    return OutputDataset(_NAMESPACE, str(one.path), outputFacets=counted, facets=facets)


def _version(one: Dataset) -> dict[str, Any]:
    facet = dataset_version_dataset.DatasetVersionDatasetFacet
    return {"version": facet(one.version)} if one.version else {}
