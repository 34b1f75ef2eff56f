"""`mmprod demo`: the whole pipeline on a rendered marketplace."""

from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.options import with_session
from mmprod.cli.session import Session
from mmprod.shipped import MAKE_TRITON

SAME_ITEM = ("found first", "recall@10", "mAP@10")


@with_session(lake=False)
def demo(
    session: Session,
    folder: Annotated[Path, typer.Option("--folder", help="The folder for all files of the demo.")] = Path(
        "demo"
    ),
    items: Annotated[int, typer.Option("--items", min=60, help="Number of items in the marketplace.")] = 1500,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", min=1, help="Training steps of the encoder; default: as many as fit into its time."
        ),
    ] = None,
) -> None:
    """Render a marketplace, train a small encoder, run three days, review, evaluate and report.

    Example: mmprod demo --folder demo
    """
    session.override({"lake": str(folder / "lake")})
    from mmprod.demo.show import demonstrate
    from mmprod.encoders.train import Plan

    with session.lake.writing(), session.progress() as progress:
        shown = demonstrate(folder, session.config, items, Plan(steps=steps), progress)
    if session.json:
        content = {
            "stages": {
                heading: [o.to_dict() for o in outcomes] for heading, outcomes in shown.stages.items()
            },
            "same_item": [
                dict(zip(("weighting", *SAME_ITEM), r, strict=True)) for r in shown.weighting_rows()
            ],
            "search": [dict(zip(("search", "P@10"), row, strict=True)) for row in shown.search_rows()],
            "report": str(shown.report),
        }
        session.show(content)
        return
    for heading, outcomes in shown.stages.items():
        session.outcomes(outcomes, heading)
    headings = ("same item, listed twice", *SAME_ITEM)
    session.table("accuracy against the planted truth", headings, shown.weighting_rows(), None)
    session.table("", ("texts on a catalogue with stuffed titles", "P@10"), shown.search_rows(), None)
    typer.echo(f"\nreport: {shown.report}, {shown.evaluation}")
    typer.echo(f"try:    mmprod search 'red striped mug' --lake {folder / 'lake'}")
    typer.echo(f"serve:  {MAKE_TRITON} && mmprod triton start --lake {folder / 'lake'}")
