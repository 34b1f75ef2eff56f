"""Saved searches: run on the current index, with the day on which each product was first found."""

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
from mmprod.stages.open_index import open_index
from mmprod.stages.outcome import Outcome, timed
from mmprod.stages.publish import reuse_or_publish
from mmprod.stages.review.searches import read_texts
from mmprod.storage import artifacts, parquet
from mmprod.storage.errors import InputError

FOUND_FILE = "found.parquet"
_BATCH = 256  # texts
Hits = dict[str, list[tuple[str, float]]]
"""Products and scores by text, best first."""

Key = tuple[str, str, str]
"""(text, category searched in, product)."""

log = logging.getLogger(__name__)


def read_searches(path: Path, encoding: str | None = None) -> dict[str, str]:
    """The searches of a file: category by text, "" for any. A category follows its text after a tab."""
    texts = read_texts(path, encoding)
    return {text: "" if where == NO_CATEGORY else where for text, where in texts.items()}


def rerun_searches(
    lake: Lake, encoder: Encoder, searches: Mapping[str, str], profile: str, top: int, today: date
) -> Outcome:
    """Publish the results of each search in a profile's index, and count the new ones.

    `searches`: category by text, texts in normal form. A result is new on `today` if the same search did not
    find it in the previous run. A search in a category that the index doesn't have is skipped with a warning.
    Nothing is done if neither searches nor index have changed.
    """
    with timed("searches") as outcome:
        listed = hashlib.sha256(json.dumps(list(searches.items())).encode()).hexdigest()
        inputs = {"index": artifacts.reference(lake.index(profile)), "searches": listed}
        options = {"profile": profile, "top": top}
        outcome.rows = len(searches)
        with reuse_or_publish(outcome, lake.found, "found", inputs, options) as draft:
            if not draft.reused:
                before = _since(read_found(lake))
                with open_index(lake, profile) as generation:
                    hits = _search(generation, encoder, searches, top)
                table = _table(searches, hits, before, today)
                rows = parquet.write(draft.path / FOUND_FILE, table.to_batches(), FOUND)
                draft.counts |= {"rows": rows, "new": len(_since(table).keys() - before.keys())}
                outcome.refused = len(searches) - len(hits)
    return outcome


def read_found(lake: Lake) -> pa.Table:
    """The results of the previous run, schema FOUND; empty before the first run."""
    if artifacts.current(lake.found) is None:
        return FOUND.empty_table()
    with artifacts.opened(lake.found) as opened:
        table = parquet.read(opened.path / FOUND_FILE)
    return table if table.schema.equals(FOUND) else FOUND.empty_table()  # earlier versions had no `since`


def found_list(lake: Lake, store: Store, since: date | None = None) -> pa.Table:
    """The results with titles and categories: the columns of FOUND and two more.

    `since`: only results first found on or after this day.
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
        except InputError as error:  # skip these searches, run the others
            log.warning("%d searches are skipped, e.g. %r: %s", len(texts), texts[0], error)
    return hits


def _in_category(
    generation: Generation, encoder: Encoder, texts: Sequence[str], category: str, top: int
) -> Hits:
    found: Hits = {}
    for start in range(0, len(texts), _BATCH):
        some = texts[start : start + _BATCH]
        vectors = fuse_query(encoder.titles(some), generation.build.weights, generation.build.dim)
        hits = generation.search(vectors, top, encoder=encoder.fingerprint, category=category or None)
        for text, ids, scores in zip(some, hits.ids, hits.scores.tolist(), strict=True):
            found[text] = list(zip(ids, scores, strict=True))
    return found


def _table(searches: Mapping[str, str], hits: Hits, before: Mapping[Key, date], today: date) -> pa.Table:
    """Rows of schema FOUND, in the order of `searches`."""
    rows = [
        (text, where, name, rank, score, before.get((text, where, name), today))
        for text, where in searches.items()
        for rank, (name, score) in enumerate(hits.get(text, ()), 1)
    ]
    return pa.Table.from_pylist([dict(zip(FOUND.names, row, strict=True)) for row in rows], schema=FOUND)


def _since(table: pa.Table) -> dict[Key, date]:
    """The day on which each search first found each product."""
    columns = (table[name].to_pylist() for name in ("text", "within", "product_id"))
    return dict(zip(zip(*columns, strict=True), table["since"].to_pylist(), strict=True))
