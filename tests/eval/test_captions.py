"""BLEU and ROUGE-L: by hand, against the libraries called directly, Chinese, and a missing library."""

import math
import sys
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import corpus_bleu
from sacrebleu.metrics import BLEU

from mmprod.eval.captions import bleu, rouge_l
from mmprod.storage.errors import InputError

Figure = Callable[[Sequence[str], Sequence[Sequence[str]]], float]
CAPTIONS = ["navy blue men shirt with a collar", "red leather hand bag for women"]
REFERENCES = [["navy blue shirt for men with collar"], ["women red leather hand bag"]]


def test_bleu_by_hand() -> None:
    """Caption a b c d e against a b c d f: n-gram precisions 4/5, 3/4, 2/3, 1/2, lengths equal."""
    expected = 100 * math.exp(sum(map(math.log, (4 / 5, 3 / 4, 2 / 3, 1 / 2))) / 4)
    assert bleu(["a b c d e"], [["a b c d f"]]) == pytest.approx(expected)
    shorter = 100 * math.exp(1 - 8 / 4)  # all n-grams right, brevity penalty e^(1 − r/c)
    assert bleu(["a b c d"], [["a b c d e f g h"]]) == pytest.approx(shorter)


def test_rouge_by_hand() -> None:
    """LCS of "a b c d" and "a x c d e" is "a c d": P = 3/4, R = 3/5, F1 = 2PR / (P + R)."""
    one = 100 * 2 * 0.75 * 0.6 / (0.75 + 0.6)
    assert rouge_l(["a b c d"], [["a x c d e"]]) == pytest.approx(one)
    assert rouge_l(["a b c d", "x"], [["a x c d e"], ["y"]]) == pytest.approx(one / 2)


def test_chinese_by_characters() -> None:
    """红色连衣裙 against 红色长裙: the longest common subsequence is 红色裙, P = 3/5, R = 3/4."""
    assert rouge_l(["红色连衣裙"], [["红色长裙"]]) == pytest.approx(100 * 2 * 0.6 * 0.75 / 1.35)
    spaced = bleu(["红 色 连 衣 裙 女"], [["红 色 连 衣 裙 男"]])
    assert bleu(["红色连衣裙女"], [["红色连衣裙男"]]) == pytest.approx(spaced)
    assert spaced > 50


def test_bleu_is_sacrebleu_s_and_the_signature_is_the_documented_one() -> None:
    scorer = BLEU()
    theirs = scorer.corpus_score(CAPTIONS, [[texts[0] for texts in REFERENCES]])
    assert bleu(CAPTIONS, REFERENCES) == pytest.approx(theirs.score)
    signature = str(scorer.get_signature()).rsplit("|", 1)[0]
    assert signature in str(bleu.__doc__)
    chinese = ["蓝色男士衬衫 XL", "red bag"], ["蓝色衬衫男士 XL", "a red bag"]
    expected = corpus_bleu(chinese[0], [chinese[1]], tokenize="zh").score
    assert bleu(chinese[0], [[text] for text in chinese[1]]) == pytest.approx(expected)


def test_rouge_is_rouge_score_s() -> None:
    scorer = RougeScorer(["rougeL"])
    one_by_one = [
        scorer.score(texts[0], caption)["rougeL"].fmeasure
        for caption, texts in zip(CAPTIONS, REFERENCES, strict=True)
    ]
    assert rouge_l(CAPTIONS, REFERENCES) == pytest.approx(100 * sum(one_by_one) / 2)


@given(st.text("ab C-1é'., ", max_size=30), st.text("ab C-1é'., ", max_size=30))
def test_latin_text_is_cut_as_rouge_score_cuts_it(caption: str, reference: str) -> None:
    theirs = RougeScorer(["rougeL"]).score(reference, caption)["rougeL"].fmeasure
    assert rouge_l([caption], [[reference]]) == pytest.approx(100 * theirs)


@pytest.mark.parametrize("figure", [bleu, rouge_l])
def test_several_references(figure: Figure) -> None:
    """A reference equal to the caption is full marks, however many others there are; numbers may differ."""
    more = [[*REFERENCES[0], CAPTIONS[0], "something else entirely"], REFERENCES[1]]
    assert figure(CAPTIONS, more) > figure(CAPTIONS, REFERENCES)
    full = [["else", caption] for caption in CAPTIONS]
    assert figure(CAPTIONS, full) == pytest.approx(100)
    assert figure(CAPTIONS, [full[0], full[1][1:]]) == pytest.approx(100)


@pytest.mark.parametrize("figure", [bleu, rouge_l])
def test_nothing_in_common_and_nothing_said(figure: Figure) -> None:
    assert figure([""], [["a red bag for women"]]) == 0
    assert figure(["!"], [["a red bag for women"]]) == 0


@pytest.mark.parametrize("figure", [bleu, rouge_l])
def test_refused(figure: Figure) -> None:
    with pytest.raises(InputError, match="0 captions"):
        figure([], [])
    with pytest.raises(InputError, match="2 captions with references for 1"):
        figure(CAPTIONS, REFERENCES[:1])
    with pytest.raises(InputError, match="1 of 2 captions have no reference, the first is 1"):
        figure(CAPTIONS, [REFERENCES[0], []])
    with pytest.raises(InputError, match="list of texts"):
        figure(CAPTIONS, ["one text", "another"])


@pytest.mark.parametrize(
    ("figure", "module"), [(bleu, "sacrebleu.metrics"), (rouge_l, "rouge_score.rouge_scorer")]
)
def test_a_missing_library_is_named(figure: Figure, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r'pip install "mmprod\[train\]"'):
        figure(CAPTIONS, REFERENCES)
