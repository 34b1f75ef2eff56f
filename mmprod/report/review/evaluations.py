"""Writes the reports of a lake's evaluations: a page for each, and an index page with links to all."""

from collections.abc import Iterator
from pathlib import Path

from mmprod.datasets.store.store import Store
from mmprod.lake import Lake
from mmprod.report.card import card
from mmprod.report.page import save
from mmprod.report.review.evaluation import evaluation_page
from mmprod.report.review.history import Entry, index_page
from mmprod.sections import Config
from mmprod.stages.review.evaluation import in_order, read_assessment, read_evaluated
from mmprod.storage import artifacts

INDEX = "index.html"


def write_reports(lake: Lake, config: Config, store: Store, name: str, out: Path | None = None) -> Path:
    """Write the report of a survey's current evaluation and rewrite the index; returns the report's path.

    Reports are written to LAKE/reports, and old ones are kept; `out`: also write the report to this file.
    """
    evaluated = read_evaluated(lake, config, name)
    page = evaluation_page(
        evaluated, config.review, lambda product, note, mark: card(store, product, note, mark)
    )
    path = lake.reports / _file(name, evaluated.generation)
    for place in filter(None, (path, out)):
        save(page, place)
    save(index_page(list(_entries(lake))), lake.reports / INDEX)
    return out or path


def _file(survey: str, generation: str) -> str:
    return f"{survey}-{generation}.html"


def _entries(lake: Lake) -> Iterator[Entry]:
    """Every evaluation so far, with the link to its report if that still exists."""
    for root in sorted(lake.evaluations.glob("*")):
        for generation in artifacts.generations(root):
            made_at = artifacts.Manifest.read(root / generation).created_at
            found = read_assessment(lake, root.name, generation)
            link = _file(root.name, generation)
            there = link if (lake.reports / link).is_file() else ""
            metrics = found.tables["metrics"]
            system, *_ = in_order(metrics["system"].unique().to_pylist(), root.name)
            yield Entry.of(root.name, generation, made_at, there, metrics, system, found.alerts)
