"""Commands that are done elsewhere, on the Ray cluster, and look as if they were done here."""

from collections.abc import Sequence
from pathlib import Path

import typer

from mmprod.cli.session import Session


def submit(session: Session, config: Path | None, kind: str, words: Sequence[str], decisive: str) -> None:
    """Have the cluster do ``mmprod WORDS`` on this lake with this configuration, and show what it did.

    `kind` is for people, in the job's name; what is `decisive` beside the lake tells one work from another.
    """
    from mmprod.config import FILE
    from mmprod.stages import cluster
    from mmprod.stages.outcome import Outcome

    lake = str(session.lake.root.resolve())
    file = config or (Path(FILE) if Path(FILE).is_file() else None)
    words = [*words, "--lake", lake, *(["--config", str(file.resolve())] if file else [])]
    name = cluster.job_name(kind, [lake, decisive])
    with session.lake.attempting():
        told = cluster.run(
            session.config.ray, session.lake.root, name, words, lambda line: typer.echo(line, err=True)
        )
    session.outcomes([Outcome(**{k: v for k, v in stage.items() if k != "rate"}) for stage in told["stages"]])
