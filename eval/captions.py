"""BLEU and ROUGE-L of captions against one or several references, by sacrebleu and rouge-score.

Chinese is compared character by character. Figures are in points, 0 to 100.
"""

import re
from collections.abc import Sequence
from itertools import chain, zip_longest

from mmprod.datasets.lazy import lazy
from mmprod.storage.errors import InputError

metrics = lazy("sacrebleu.metrics")  # optional
rouge_scorer = lazy("rouge_score.rouge_scorer")  # optional
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CHINESE = re.compile(f"[{_HAN}]")
_WORD = re.compile(f"[a-z0-9]+|[{_HAN}]")
_INSTALL = 'needs the libraries of training: pip install "mmprod[train]"'


def bleu(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU-4 (Papineni et al. 2002) as sacrebleu computes it, 0 to 100.

    sacrebleu's signature is ``nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp``, with ``tok:zh`` if any text
    has a Chinese character, and with ``nrefs:N``, or ``nrefs:var`` if captions differ in the number of their
    references. `references`: one or several texts for each caption; the n-grams of all of them count, and
    the length nearest to the caption's. Raises: InputError as `rouge_l`.
    """
    _check(captions, references)
    chinese = any(map(_CHINESE.search, chain(captions, *references)))
    streams = [list(stream) for stream in zip_longest(*references)]  # None where a caption has fewer
    try:
        scorer = metrics.BLEU(tokenize="zh" if chinese else "13a")
    except ImportError as error:
        raise InputError(f"BLEU {_INSTALL}") from error
    return float(scorer.corpus_score(list(captions), streams).score)


def rouge_l(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """ROUGE-L (Lin 2004): the mean over captions of the F1 of the longest common subsequence, 0 to 100.

    Of several references the best counts. Tokens are runs of a-z and 0-9 in lower case without stemming, as
    in rouge-score, and single Chinese characters.
    Raises: InputError for no caption, for a caption without references, for lists of different lengths, and
    if the library is missing.
    """
    _check(captions, references)
    try:
        scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=_Tokenizer())
    except ImportError as error:
        raise InputError(f"ROUGE-L {_INSTALL}") from error
    pairs = zip(captions, references, strict=True)
    scores = [scorer.score_multi(list(texts), caption)["rougeL"].fmeasure for caption, texts in pairs]
    return 100 * float(sum(scores)) / len(scores)


class _Tokenizer:
    """The tokenizer passed to rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text.lower())


def _check(captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not captions or len(captions) != len(references):
        raise InputError(f"{len(captions)} captions with references for {len(references)}: want one for each")
    if any(isinstance(texts, str) for texts in references):
        raise InputError("references hold a text where a list of texts is wanted, one list for each caption")
    bare = [i for i, texts in enumerate(references) if not texts]
    if bare:
        raise InputError(f"{len(bare)} of {len(captions)} captions have no reference, the first is {bare[0]}")
