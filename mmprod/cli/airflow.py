"""`mmprod airflow`: the DAG files for Airflow."""

from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.copies import OverwriteOption, hand_out
from mmprod.cli.options import with_session
from mmprod.cli.session import Session
from mmprod.shipped import shipped, tree

app = typer.Typer(name="airflow", no_args_is_help=True, help="Scheduled runs.")


@app.command()
@with_session(config=False, lake=False)
def dags(
    session: Session,
    copy: Annotated[Path | None, typer.Option("--copy", help="Copy them to this folder.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Print the folder of the DAG files, for Airflow's dags_folder; or copy them, to be modified.

    Examples: mmprod airflow dags

    mmprod airflow dags --copy dags
    """
    if copy:
        hand_out(session, tree("dags"), copy, overwrite)
    else:
        session.show({"folder": str(shipped("dags"))}, str(shipped("dags")))
