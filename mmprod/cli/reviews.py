"""Commands of the review loop."""

from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.session import ConfigOption, JsonOption, LakeOption, Session, WaitOption

review = typer.Typer(no_args_is_help=True, help="Pairs out to reviewers, labels back in.")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.add_typer(review, name="review")
    app.command()(evaluate)


@review.command()
def sample(
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Draw pairs from the recall table, by category, and write a sheet for reviewers.

    Example: mmprod review sample
    """
    session = Session(config, lake, json)
    from mmprod.stages.review import sample as sample_stage

    with session.lake.writing(wait), session.store() as store:
        outcome = sample_stage(session.lake, session.config, store)
    session.outcomes([outcome])


@review.command()
def collect(
    file: Annotated[Path, typer.Argument(help="A filled-in sheet (CSV).")],
    reviewer: Annotated[
        str, typer.Option("--reviewer", help="Who answered, where the sheet doesn't say.")
    ] = "",
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Take a filled-in sheet in; rows that can't be used come back in a file with their reasons.

    Example: mmprod review collect sheet-anna.csv --reviewer anna
    """
    session = Session(config, lake, json)
    from mmprod.stages.review import collect as collect_stage

    with session.lake.writing(wait), session.store() as store:
        outcome = collect_stage(session.lake, store, file, reviewer)
    session.outcomes([outcome])


def evaluate(
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Precision and mAP, over all and by category, from every label so far.

    Example: mmprod evaluate --json
    """
    session = Session(config, lake, json)
    from mmprod.stages.review import evaluate as evaluate_stage
    from mmprod.stages.review import read_metrics

    with session.lake.writing(wait):
        evaluate_stage(session.lake, session.config)
    rows = read_metrics(session.lake).to_pylist()
    cells = [tuple(row.values()) for row in rows]
    session.table("accuracy", ("scope", "measure", "value", "low", "high", "n"), cells, {"metrics": rows})
