"""Saved searches, answered anew from the current index, and what they find since when."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.schemas import FOUND, category_path
from mmprod.datasets.store.store import Store
from mmprod.encoders.encoder import Encoder
from mmprod.eval.survey.strata import NO_CATEGORY
from mmprod.lake import Lake
from mmprod.retrieval.fusion import fuse_query
from mmprod.retrieval.generation import Generation
from mmprod.stages.daily.index import open_index
from mmprod.stages.outcome import Outcome, timed
from mmprod.stages.review.searches import read_texts
from mmprod.storage import artifacts, parquet
from mmprod.storage.errors import InputError

FOUND_FILE = "found.parquet"
_TOGETHER = 256  # texts
Hits = dict[str, list[tuple[str, float]]]
"""By text: products and scores, best first."""

Key = tuple[str, str, str]
"""Text, category searched in, product."""

log = logging.getLogger(__name__)


def read_searches(path: Path, encoding: str | None = None) -> dict[str, str]:
    """The searches of a file, one a line: a text and, behind a tab, the category to look in; "" for any."""
    texts = read_texts(path, encoding)
    return {text: "" if where == NO_CATEGORY else where for text, where in texts.items()}


def rerun_searches(
    lake: Lake, encoder: Encoder, searches: Mapping[str, str], profile: str, top: int, today: date
) -> Outcome:
    """Publish what each search finds in a profile's index, and count the finds that are new.

    `searches` are categories by text, texts in normal form. A find is new on `today` if the same search
    did not find it the last time. A search in a category that the index doesn't know is left out, with a
    warning. Nothing is done where neither searches nor index have changed.
    """
    with timed("searches") as outcome:
        listed = hashlib.sha256(json.dumps(list(searches.items())).encode()).hexdigest()
        inputs = {"index": artifacts.reference(lake.index(profile)), "searches": listed}
        options = {"profile": profile, "top": top}
        outcome.rows = len(searches)
        if name := artifacts.reusable(lake.found, inputs, options):
            outcome.reused, outcome.made = outcome.rows, {str(lake.found): name}
            return outcome
        before = _since(read_found(lake))
        with open_index(lake, profile) as generation:
            hits = _search(generation, encoder, searches, top)
        table = _table(searches, hits, before, today)
        with artifacts.publishing(lake.found, "found", inputs, options) as draft:
            rows = parquet.write(draft.path / FOUND_FILE, table.to_batches(), FOUND)
            draft.counts |= {"rows": rows, "new": len(_since(table).keys() - before.keys())}
        artifacts.switch(lake.found, draft.generation)
        outcome.made[str(lake.found)] = draft.generation
        outcome.changed, outcome.refused = len(hits), len(searches) - len(hits)
        outcome.detail = {"generation": draft.generation, **draft.counts}
    return outcome


def read_found(lake: Lake) -> pa.Table:
    """What the searches found the last time, schema FOUND; empty before the first time."""
    if artifacts.current(lake.found) is None:
        return FOUND.empty_table()
    with artifacts.opened(lake.found) as opened:
        table = parquet.read(opened.path / FOUND_FILE)
    return table if table.schema.equals(FOUND) else FOUND.empty_table()  # earlier versions knew no `since`


def found_list(lake: Lake, store: Store, since: date | None = None) -> pa.Table:
    """What the searches found, with titles and categories: FOUND and two more columns.

    With `since` only what has been found since that day or later.
    """
    table = read_found(lake)
    if since:
        table = table.filter(pc.greater_equal(table["since"], pa.scalar(since, pa.date32())))
    records = store.get_many(table["product_id"].to_pylist())
    titles = [record.title if record else "" for record in records]
    categories = [category_path(record.category) if record else "" for record in records]
    return table.append_column("title", [pa.array(titles, pa.string())]).append_column(
        "category", [pa.array(categories, pa.string())]
    )


def _search(generation: Generation, encoder: Encoder, searches: Mapping[str, str], top: int) -> Hits:
    hits: Hits = {}
    for where in sorted(set(searches.values())):
        texts = [text for text, category in searches.items() if category == where]
        try:
            hits |= _in_category(generation, encoder, texts, where, top)
        except InputError as error:  # the other searches go on
            log.warning("%d searches are left out, such as %r: %s", len(texts), texts[0], error)
    return hits


def _in_category(
    generation: Generation, encoder: Encoder, texts: Sequence[str], category: str, top: int
) -> Hits:
    found: Hits = {}
    for start in range(0, len(texts), _TOGETHER):
        some = texts[start : start + _TOGETHER]
        vectors = fuse_query(encoder.titles(some), generation.build.weights, generation.build.dim)
        hits = generation.search(vectors, top, encoder=encoder.fingerprint, category=category or None)
        for text, ids, scores in zip(some, hits.ids, hits.scores.tolist(), strict=True):
            found[text] = list(zip(ids, scores, strict=True))
    return found


def _table(searches: Mapping[str, str], hits: Hits, before: Mapping[Key, date], today: date) -> pa.Table:
    """Rows of schema FOUND, the searches in the order they were given in."""
    rows = [
        (text, where, name, rank, score, before.get((text, where, name), today))
        for text, where in searches.items()
        for rank, (name, score) in enumerate(hits.get(text, ()), 1)
    ]
    return pa.Table.from_pylist([dict(zip(FOUND.names, row, strict=True)) for row in rows], schema=FOUND)


def _since(table: pa.Table) -> dict[Key, date]:
    """Since when each search has been finding each product."""
    columns = (table[name].to_pylist() for name in ("text", "within", "product_id"))
    return dict(zip(zip(*columns, strict=True), table["since"].to_pylist(), strict=True))
