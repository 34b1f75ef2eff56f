"""Keyword search over titles (BM25): the baseline for picture search."""

import logging
import re
from collections.abc import Sequence

import numpy as np

from mmprod.datasets.lazy import lazy
from mmprod.storage.errors import InputError

bm25s = lazy("bm25s")  # half a second to import, and rarely used
K1, B = 1.5, 0.75
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_RUN = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+")


def tokens(text: str) -> list[str]:
    """Lower-case words and numbers; for Chinese, Japanese and Korean single characters and adjacent pairs.

    As Lucene's CJKAnalyzer with unigrams: "Red 连衣裙" gives red, 连, 衣, 裙, 连衣, 衣裙. No stemming.
    """
    found: list[str] = []
    for run in _RUN.findall(text.lower()):
        if re.match(f"[{_CJK}]", run):
            found += [*run, *(run[i : i + 2] for i in range(len(run) - 1))]
        else:
            found.append(run)
    return found


class KeywordIndex:
    """BM25 over titles, Lucene's variant.

    Score = Σ over query words of ln(1 + (N - n + .5) / (n + .5)) · tf / (tf + k1 (1 - b + b · len / mean)).
    """

    def __init__(self, ids: Sequence[str], titles: Sequence[str | None]) -> None:
        """ids and titles of the products; an empty title never matches. InputError for different lengths."""
        if len(ids) != len(titles):
            raise InputError(f"{len(ids)} ids for {len(titles)} titles: both must come from the same rows")
        self._ids = list(ids)
        corpus = [tokens(title or "") for title in titles]
        self._words = {word for title in corpus for word in title}
        self._bm25 = bm25s.BM25(method="lucene", k1=K1, b=B, backend="numpy")
        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG, with its own handler
        if self._words:
            self._bm25.index(corpus, show_progress=False)

    def search(self, query: str, k: int) -> list[tuple[str, float]]:
        """Up to k (id, score), best first, equal scores in input order; [] if no word occurs in a title.

        Raises InputError for k < 1.
        """
        if k < 1:
            raise InputError(f"k is {k}, want 1 or more")
        known = [word for word in tokens(query) if word in self._words]
        if not known:
            return []
        scores = self._bm25.get_scores(known)
        order = np.argsort(-scores, kind="stable")[:k]
        return [(self._ids[row], float(scores[row])) for row in order if scores[row] > 0]
