"""The counts of an ingested day, and the kind of change of a single row."""

import dataclasses
from dataclasses import dataclass
from itertools import compress

from mmprod.datasets.ingest.delivery import moment_text
from mmprod.datasets.store.state import Content, State, version
from mmprod.datasets.volatile import Volatile


@dataclass(frozen=True)
class DayCounts:
    """Each row read is counted once, under its outcome. The last three counts and `removed_by_absence` are
    additional: they do not partition the rows."""

    read: int = 0
    added: int = 0
    relisted: int = 0
    picture: int = 0
    title: int = 0
    fields: int = 0
    volatile: int = 0  # only volatile fields changed, such as sales or price
    unchanged: int = 0
    stale: int = 0  # older than the store, a duplicate in the table, or of a product removed on a later day
    quarantined: int = 0
    removed_by_row: int = 0
    removed_by_absence: int = 0
    merged: int = 0  # merged into another row with the same id
    pictures_rejected: int = 0  # among the rows above: accepted without their picture
    figures_unread: int = 0  # among the rows above: unreadable sales and times, left out
    ids_plain: int = 0  # among the rows above: ids stripped of blanks or spreadsheet quoting

    @property
    def removed(self) -> int:
        return self.removed_by_row + self.removed_by_absence

    def check_balance(self) -> None:
        """Raise RuntimeError unless the outcomes add up to the rows read."""
        rows = dataclasses.asdict(self)
        no_rows = ("read", "removed_by_absence", "pictures_rejected", "figures_unread", "ids_plain")
        outcomes = sum(rows.values()) - sum(rows[name] for name in no_rows)
        if outcomes != self.read:
            raise RuntimeError(
                f"counts don't balance: {self.read} rows read, {outcomes} accounted for: {rows}"
            )


def outcome(
    old: State, new: State, content: Content, volatile: Volatile, updated_at: int | None, day: int
) -> tuple[str, str]:
    """(kind, reason) of the change by a delivered row, from the product's states before and after."""
    parts = _parts(old, new)
    if new.live and not old.live:
        return ("relisted", ",".join(parts)) if old.known else ("added", "")
    if parts and new.live:
        return parts[0], ",".join(parts)
    if not parts and (content, volatile) == (new.content, new.volatile):
        return "unchanged", ""
    if parts:
        return "stale", "gone on a later day"
    row, stored = version(updated_at, day), new.key[0]
    return "stale", f"version {moment_text(row)} is older than {moment_text(stored)}"


def _parts(old: State, new: State) -> list[str]:
    """Which of picture, title, lasting and volatile fields differ."""
    a, b = old.content, new.content
    picture = a.image_hash != b.image_hash or a.image_fault != b.image_fault
    title, fields = a.text_hash != b.text_hash, a.fields_hash != b.fields_hash
    differs = (picture, title, fields, old.volatile != new.volatile)
    return list(compress(("picture", "title", "fields", "volatile"), differs))
