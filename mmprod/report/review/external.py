"""The report of an evaluation of another system's recall table; without pictures, as there is no store."""

from pathlib import Path

from mmprod.eval.judged import Judged
from mmprod.report.page import Card, save
from mmprod.report.review.evaluation import evaluation_page
from mmprod.sections import Review
from mmprod.stages.review.evaluation import Assessment
from mmprod.stages.review.external import evaluated


def write_report(name: str, judged: Judged, found: Assessment, review: Review, path: Path) -> None:
    """Write the report of the recall table `name` to a file, atomically."""
    page = evaluation_page(
        evaluated(name, judged, found),
        review,
        lambda product, note, mark: Card(product, "", None, note, mark),
    )
    save(page, path)
