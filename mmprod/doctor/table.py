"""Prints findings as a table."""

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from mmprod.doctor.finding import Finding

_COLOURS = {"ok": "green", "note": "yellow", "problem": "bold red"}


def table_of(sections: Mapping[str, Sequence[Finding]]) -> Table:
    """A table of the findings by section, with their cures."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, findings in sections.items():
        table.add_row(Text(name, "bold"))
        for finding in findings:
            text = Text(finding.text)
            if finding.cure:
                text.append(f"\n→ {finding.cure}", "cyan")
            level = Text(finding.level, _COLOURS[finding.level])
            table.add_row(Text(f" {finding.subject}"), level, text)
    return table
