"""`mmprod doctor`: checks whether the configuration can work on this machine."""

from dataclasses import asdict

import typer

from mmprod.cli.options import with_session
from mmprod.cli.session import Session


@with_session()
def doctor(session: Session) -> None:
    """Show this machine, which of its resources will be used and why, and what the configuration lacks.

    Exit code 1 if something configured can't work. A note is not an error: it names something optional that
    is missing.

    Example: mmprod doctor
    """
    from mmprod.doctor.examination import examine
    from mmprod.doctor.table import table_of

    sections = examine(session.loaded, session.lake)
    found = [finding for findings in sections.values() for finding in findings]
    counts = {f"{level}s": sum(f.level == level for f in found) for level in ("problem", "note")}
    if session.json:
        told = {name: [asdict(finding) for finding in findings] for name, findings in sections.items()}
        session.show({**counts, "sections": told})
    else:
        console = session.console()
        console.print(table_of(sections))
        console.print(f"problems: {counts['problems']}, notes: {counts['notes']}", style="bold")
    if counts["problems"]:
        raise typer.Exit(1)
