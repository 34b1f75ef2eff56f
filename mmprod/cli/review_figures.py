"""`mmprod review compare` and `mmprod review weights`: comparisons and weights computed from labels."""

from typing import Annotated

import typer

from mmprod.cli.options import with_session
from mmprod.cli.review import SurveyOption
from mmprod.cli.session import Session


@with_session()
def compare(
    session: Session,
    before: Annotated[
        str, typer.Argument(help="A system of the survey, as `mmprod evaluate survey` names it.")
    ],
    after: Annotated[str, typer.Argument(help="Another one.")],
    survey: SurveyOption = None,
) -> None:
    """Compare two systems of a survey, anchor by anchor: what got better and what got worse.

    Example: mmprod review compare similar_item same_item
    """
    from mmprod.eval.compare.paired import compare as compare_systems
    from mmprod.stages.review.evaluation import judge_survey
    from mmprod.stages.review.survey import known_survey

    review_section = session.config.review
    judged = judge_survey(session.lake, session.config, known_survey(session.lake, session.config, survey))
    table = compare_systems(judged, before, after, review_section.all_measures)
    names = ("scope", "measure", "value_a", "value_b", "difference", "low", "high", "p_adjusted", "n")
    rows = [tuple(row[name] for name in names) for row in table.to_pylist() if row["variant"] == "pooled"]
    headings = ("scope", "measure", before, after, "difference", "low", "high", "p", "anchors")
    session.table("comparison", headings, rows, {"differences": table.to_pylist()})


@with_session()
def weights(
    session: Session,
    survey: SurveyOption = None,
    system: Annotated[
        str | None,
        typer.Option("--system", help="Whose candidates are used; default: the survey's own profile."),
    ] = None,
) -> None:
    """Fit the weight of pictures against titles to the labels, by category, and compare it with 1:1 and 7:3.

    Example: mmprod review weights
    """
    from mmprod.eval.fusion_weights import fit_weights
    from mmprod.stages.review.evaluation import judge_survey
    from mmprod.stages.review.survey import known_survey

    name = known_survey(session.lake, session.config, survey)
    table = fit_weights(judge_survey(session.lake, session.config, name), system or name)
    names = (
        "scope",
        "anchors",
        "image_weight",
        "auc",
        "auc_1_1",
        "auc_7_3",
        "advised",
        "threshold",
        "precision",
    )
    rows = [tuple(row[column] for column in names) for row in table.to_pylist()]
    session.table("weights from labels", names, rows, {"weights": table.to_pylist()})
