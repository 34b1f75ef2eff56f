"""A survey of searches: do the products found for a text fit it? Compares picture and keyword search."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa

from mmprod.datasets.schemas import ANCHOR, CANDIDATE
from mmprod.datasets.store.store import Store
from mmprod.datasets.tables.private_copy import private_copy
from mmprod.datasets.tables.textfile import encoding_of
from mmprod.datasets.text import normalise_title
from mmprod.encoders.encoder import Encoder
from mmprod.eval.survey.strata import NO_CATEGORY
from mmprod.lake import Lake
from mmprod.retrieval.fusion import fuse_query
from mmprod.retrieval.keyword import KeywordIndex
from mmprod.sections import Config
from mmprod.stages.open_index import open_index
from mmprod.stages.outcome import Outcome, Progress, no_progress, timed
from mmprod.stages.review.survey import KEYWORDS, PICTURES, SEARCH, fill, surveying
from mmprod.storage import artifacts
from mmprod.storage.errors import InputError

PROFILE = "selection"
_MAX_BYTES = 16 << 20
_ENDLESS = 1_000_000_000


def read_texts(path: Path, encoding: str | None = None) -> dict[str, str]:
    """The categories of a file's texts. A line is a text, optionally followed by a tab and its category.

    `encoding`: of a file that isn't UTF-8; default: detected from its words.
    Raises: InputError for a file without a text, and for a repeated text.
    """
    texts: dict[str, str] = {}
    with private_copy(path, _MAX_BYTES) as file:
        lines = file.path.read_text(encoding_of(file, encoding)).splitlines()
    for number, line in enumerate(lines, 1):
        words, _, category = line.partition("\t")
        text = normalise_title(words)
        if text in texts:
            raise InputError(f"{path}, line {number}: {text!r} comes twice")
        if text:
            texts[text] = category.strip() or NO_CATEGORY
    if not texts:
        raise InputError(f"{path} has no text: write one search a line")
    return texts


def sample_searches(
    lake: Lake,
    config: Config,
    store: Store,
    encoder: Encoder,
    texts: Mapping[str, str],
    progress: Progress = no_progress,
) -> Outcome:
    """Draw a survey of searches: do the products found by picture and by keyword search fit the `texts`?

    `texts`: category by text. The results of both searches are pooled, so that neither is favoured.
    """
    with timed("review sample") as outcome:
        inputs = {"index": artifacts.reference(lake.index(PROFILE)), "texts": list(texts)}
        with surveying(lake, config, outcome, SEARCH, inputs) as draft:
            if not draft.reused:
                names = {text: anchor_id(text) for text in texts}
                found = [
                    *_by_pictures(lake, encoder, names, config.review.depth),
                    *_by_keywords(store, names, config.review.depth),
                ]
                candidates = pa.Table.from_pylist(found, CANDIDATE)
                fill(draft, lake, config, store, SEARCH, _anchors(texts, names), candidates, progress)
    return outcome


def anchor_id(text: str) -> str:
    """The anchor id of a text; it begins with a letter, so that spreadsheets don't read it as a number."""
    return "q" + blake2b(text.encode(), digest_size=8).hexdigest()


def _anchors(texts: Mapping[str, str], names: Mapping[str, str]) -> pa.Table:
    """The anchors of the texts. They are a sample of all possible searches, an unlimited population."""
    rows = [
        {
            "anchor_id": names[text],
            "text": text,
            "category": category,
            "band": "searches",
            "population": _ENDLESS,
            "weight": 1.0,
        }
        for text, category in texts.items()
    ]
    return pa.Table.from_pylist(rows, ANCHOR)


def _by_pictures(
    lake: Lake, encoder: Encoder, names: Mapping[str, str], depth: int
) -> Iterator[dict[str, object]]:
    with open_index(lake, PROFILE) as generation:
        vectors = fuse_query(encoder.titles(list(names)), generation.build.weights, generation.build.dim)
        hits = generation.search(vectors, depth, encoder=encoder.fingerprint)
    for name, ids, scores in zip(names.values(), hits.ids, hits.scores, strict=True):
        yield from _ranked(PICTURES, name, zip(ids, scores.tolist(), strict=False))


def _by_keywords(store: Store, names: Mapping[str, str], depth: int) -> Iterator[dict[str, object]]:
    ids, titles = zip(*((record.product_id, record.title) for record in store.iterate()), strict=True)
    index = KeywordIndex(list(ids), list(titles))
    for text, name in names.items():
        yield from _ranked(KEYWORDS, name, index.search(text, depth))


def _ranked(system: str, anchor: str, found: Iterable[tuple[str, float]]) -> Iterator[dict[str, object]]:
    for rank, (product, score) in enumerate(found, 1):
        yield {"system": system, "anchor_id": anchor, "product_id": product, "rank": rank, "score": score}
