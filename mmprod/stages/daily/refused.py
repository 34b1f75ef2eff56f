"""Explains why a product table was refused: counts and first row of each reason, and all rows as a file."""

from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa

from mmprod.datasets.ingest.delivery import DeliveredTable
from mmprod.lake import Lake
from mmprod.stages.search.lists import write_list
from mmprod.storage.errors import InputError

_BATCH_ROWS = 10_000
_MOST = 1_000_000  # rows in the file
_TOLD = 6  # reasons in the message

Refusal = tuple[str, str | None, str]
"""(source of the row, its id if that is usable, reason)."""


def explained(lake: Lake, table: DeliveredTable, day: date, error: InputError) -> InputError:
    """The error with the reasons of unusable rows added to its message; writes their list to the lake."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    rows: list[Refusal] = []
    for refusal in _refusals(table):
        source, _, told = refusal
        reason = told.partition(":")[0]
        counts[reason] += 1
        first.setdefault(reason, f"{source} ({told})" if ":" in told else source)
        if len(rows) < _MOST:
            rows.append(refusal)
    if not counts:
        return error
    path = _write(lake, day, table.fingerprint, rows)
    told = "; ".join(
        f"{count:,} {reason}, first {first[reason]}" for reason, count in counts.most_common(_TOLD)
    )
    return type(error)(f"{error}\nrows that can't be used: {told}\nall of them: {path}")


def _refusals(table: DeliveredTable) -> Iterator[Refusal]:
    for batch in table.batches(_BATCH_ROWS):
        for row in batch.refused:
            yield row.source, row.product_id, row.reason
        ids = batch.accepted.column("product_id")
        for place, told in batch.unread:
            yield batch.sources[place], ids[place].as_py(), f"figure_unread:{told}"


def _write(lake: Lake, day: date, fingerprint: str, rows: list[Refusal]) -> Path:
    sources, ids, reasons = zip(*rows, strict=True)
    path = lake.quarantine / f"{day.isoformat()}-{fingerprint[:12]}.csv"
    columns = {"source": sources, "product_id": pa.array(ids, pa.string()), "reason": reasons}
    write_list(pa.table(columns), path)
    return path
