"""Runs commands as jobs on the Ray cluster and shows their results like those of local commands."""

from collections.abc import Sequence
from pathlib import Path

import typer

from mmprod.cli.session import Session


def submit(session: Session, kind: str, words: Sequence[str], decisive: str, driver: bool = False) -> None:
    """Run ``mmprod WORDS`` on the cluster, with this lake and configuration, and show its outcomes.

    `kind` is the readable part of the job's name. The job is identified by the lake and `decisive`: equal
    ones are the same work. A `driver` starts tasks on the cluster.
    """
    from mmprod.config import FILE
    from mmprod.stages import cluster
    from mmprod.stages.outcome import Outcome

    lake = str(session.lake.root.resolve())
    file = session.file or (Path(FILE) if Path(FILE).is_file() else None)
    words = [*words, "--lake", lake, *(["--config", str(file.resolve())] if file else [])]
    name = cluster.job_name(kind, [lake, decisive])
    with session.lake.attempting():
        told = cluster.run(
            *(session.config.ray, session.lake.root, name, words),
            lambda line: typer.echo(line, err=True),
            driver,
        )
    session.outcomes([Outcome(**{k: v for k, v in stage.items() if k != "rate"}) for stage in told["stages"]])
