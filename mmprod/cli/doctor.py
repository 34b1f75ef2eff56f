"""`mmprod doctor`: can what is configured work on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from mmprod.cli.session import ConfigOption, JsonOption, LakeOption, Session

if TYPE_CHECKING:
    from mmprod.doctor.finding import Finding

_COLOURS = {"ok": "green", "note": "yellow", "problem": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command()(doctor)


def doctor(config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False) -> None:
    """What this machine is, what will be used of it and why, and what keeps the configured from working.

    Ends with exit code 1 if something configured can't work. A note is no fault: it is missing, and only
    who wants it needs it.

    Example: mmprod doctor
    """
    session = Session(config, lake, json)
    from mmprod.doctor.examination import examine

    sections = examine(session.loaded, session.lake)
    found = [finding for findings in sections.values() for finding in findings]
    counts = {f"{level}s": sum(f.level == level for f in found) for level in ("problem", "note")}
    if json:
        told = {name: [asdict(finding) for finding in findings] for name, findings in sections.items()}
        session.show({**counts, "sections": told})
    else:
        _print(session, sections, counts)
    if counts["problems"]:
        raise typer.Exit(1)


def _print(session: Session, sections: Mapping[str, Sequence["Finding"]], counts: Mapping[str, int]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, findings in sections.items():
        table.add_row(Text(name, "bold"))
        for finding in findings:
            text = Text(finding.text)
            if finding.cure:
                text.append(f"\n→ {finding.cure}", "cyan")
            level = Text(finding.level, _COLOURS[finding.level])
            table.add_row(Text(f" {finding.subject}"), level, text)
    console = session.console()
    console.print(table)
    console.print(Text(f"problems: {counts['problems']}, notes: {counts['notes']}", "bold"))
