"""Commands about the lake as a whole: `mmprod status`, `mmprod verify`, `mmprod prune`."""

from collections.abc import Mapping
from typing import Annotated

import typer

from mmprod.cli.options import WaitOption, with_session
from mmprod.cli.session import Session


@with_session()
def status(session: Session) -> None:
    """Show what is in use: generations, counts, fingerprints, age.

    Example: mmprod status
    """
    from mmprod.stages.status import lake_status

    rows = lake_status(session.lake, session.config)
    headings = ("what", "current", "rows", "encoder", "made", "note")
    session.table(f"lake {session.lake.root}", headings, [tuple(r.values()) for r in rows], {"status": rows})


@with_session()
def verify(session: Session) -> None:
    """Compare every published file and every stored value with its checksum; exit code 1 if one differs.

    Example: mmprod verify
    """
    from mmprod.stages.status import vectors_by_backend, verify_lake

    with session.progress() as progress:
        problems = verify_lake(session.lake, session.config, progress)
    found = {} if problems else vectors_by_backend(session.lake)
    lines = [f"{place}: {_of_backends(made)}" for place, made in found.items()]
    well = "\n".join(["everything is as it was published", *lines])
    session.problems(problems, well, {"vectors": found})


def _of_backends(made: Mapping[str, Mapping[str, int]]) -> str:
    """Such as ``image: 40 torch-fp32, 2,000 openvino-bf16; text: 2,040 torch-fp32``."""
    told = {
        modality: ", ".join(f"{count:,} {backend or 'not recorded'}" for backend, count in counts.items())
        for modality, counts in made.items()
    }
    return "; ".join(f"{modality}: {counts or 'no vectors'}" for modality, counts in told.items())


@with_session()
def prune(
    session: Session,
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Generations to keep.")] = None,
    wait: WaitOption = False,
) -> None:
    """Remove old generations that nobody reads, and merge the embedding table's small files.

    Example: mmprod prune --keep 2
    """
    from mmprod.stages.status import prune_lake

    with session.lake.writing(wait):
        removed = prune_lake(session.lake, keep or session.config.keep_generations)
    session.removed(removed)
