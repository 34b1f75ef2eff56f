"""Result tables that a notebook displays with the products' pictures."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import pandas

    from mmprod.report.page import Card

_SHOWN = 30  # rows
_TILE = "display:inline-block;vertical-align:top;width:160px;margin:4px;font:12px sans-serif"


class Rows:
    """Wraps an Arrow table, `arrow`; a notebook displays its products as pictures.

    ``rows["title"]`` is a column, ``rows[0]`` a row as a dict; `to_pandas`, `to_pylist` and `len` are those
    of the table.
    """

    def __init__(self, arrow: pa.Table, card: Callable[[str], "Card"] | None = None) -> None:
        """`card` returns title and picture of a product id; without it a plain table is displayed."""
        self.arrow = arrow
        self._card = card

    @property
    def column_names(self) -> list[str]:
        names: list[str] = self.arrow.column_names
        return names

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, str):
            return self.arrow.column(key)
        [row] = self.arrow.slice(range(len(self))[key], 1).to_pylist()
        return row

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.arrow.to_batches():
            yield from batch.to_pylist()

    def to_pylist(self) -> list[dict[str, Any]]:
        return list(self)

    def to_pandas(self) -> "pandas.DataFrame":
        return self.arrow.to_pandas()

    def __repr__(self) -> str:
        return f"{len(self):,} rows: {', '.join(self.column_names)}"

    def _repr_html_(self) -> str:
        rows = self.arrow.slice(0, _SHOWN).to_pylist()
        more = f"<p>… {len(self) - len(rows):,} more</p>" if len(self) > len(rows) else ""
        if self._card is None or "product_id" not in self.column_names:
            return _plain(self.column_names, rows) + more
        return "".join(_tile(self._card(row["product_id"]), row) for row in rows) + more


def _tile(card: "Card", row: dict[str, Any]) -> str:
    picture = f'<img src="{card.source}" style="max-width:160px">' if card.picture else "(no picture)"
    score = f"<b>{row['score']:.3f}</b> " if row.get("score") is not None else ""
    title = escape(card.title[:80])
    return f'<div style="{_TILE}">{picture}<br>{score}{escape(card.product_id)}<br>{title}</div>'


def _plain(names: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(row[name])[:60])}</td>" for name in names) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
