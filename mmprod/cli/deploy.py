"""`mmprod deploy`: files for deploying mmprod on other machines."""

from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.copies import OverwriteOption, hand_out
from mmprod.cli.options import with_session
from mmprod.cli.session import Session
from mmprod.shipped import shipped, tree

CONSTRAINTS = ("constraints.txt", "constraints-airflow.txt", "constraints-triton.txt")


@with_session(config=False, lake=False)
def deploy(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="The folder in which deploy/ is written.")],
    overwrite: OverwriteOption = False,
) -> None:
    """Write deploy/: files for containers, compose, Kubernetes, systemd, Prometheus, Grafana, Airflow.

    The constraint files, with library versions that were tested together, are written beside it. To build
    images, put a wheel of mmprod there too.

    Example: mmprod deploy shop
    """
    files = {f"deploy/{name}": path for name, path in tree("deploy").items()}
    hand_out(session, files | {name: shipped(name) for name in CONSTRAINTS}, folder, overwrite)
