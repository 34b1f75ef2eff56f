from math import log

import pytest

from mmprod.retrieval.keyword import KeywordIndex, tokens
from mmprod.storage.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Red Dress, size 38!", ["red", "dress", "size", "38"]),
        ("连衣裙", ["连", "衣", "裙", "连衣", "衣裙"]),
        ("iPhone15手机壳-红", ["iphone15", "手", "机", "壳", "手机", "机壳", "红"]),
        ("Café_Crème", ["café", "crème"]),
        ("カメラ 카메라", ["カ", "メ", "ラ", "カメ", "メラ", "카", "메", "라", "카메", "메라"]),
        (" -- ,。!", []),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


def test_equals_bm25_by_hand() -> None:
    titles = ["red red dress", "blue dress", "red shoe for running men"]  # lengths 3, 2, 5: mean 10/3
    index = KeywordIndex(["a", "b", "c"], titles)

    def score(tf: int, length: int, found_in: int) -> float:
        idf = log(1 + (3 - found_in + 0.5) / (found_in + 0.5))
        return idf * tf / (tf + 1.5 * (1 - 0.75 + 0.75 * length / (10 / 3)))

    found = index.search("red dress", 10)
    expected = {
        "a": score(2, 3, 2) + score(1, 3, 2),
        "b": score(1, 2, 2),
        "c": score(1, 5, 2),
    }
    assert [product for product, _ in found] == ["a", "b", "c"]
    assert dict(found) == pytest.approx(expected, rel=1e-5)
    assert dict(index.search("running", 1)) == pytest.approx({"c": score(1, 5, 1)}, rel=1e-5)


def test_equal_scores_come_in_the_order_given() -> None:
    index = KeywordIndex([f"p{i}" for i in range(50)], ["same title"] * 50)
    assert [product for product, _ in index.search("title", 7)] == [f"p{i}" for i in range(7)]


@pytest.mark.parametrize("query", ["", "  ", "。", "unknown words"])
def test_nothing_to_look_for(query: str) -> None:
    assert KeywordIndex(["a", "b"], ["red dress", None]).search(query, 5) == []


def test_known_and_unknown_words_mix_and_others_are_not_listed() -> None:
    assert [p for p, _ in KeywordIndex(["a", "b", "c"], ["red", "", "blue"]).search("xyz RED", 5)] == ["a"]


@pytest.mark.parametrize("titles", [[], [None], ["", "  "]])
def test_titles_without_words(titles: list[str | None]) -> None:
    assert KeywordIndex([str(i) for i in range(len(titles))], titles).search("red", 3) == []


def test_bad_requests() -> None:
    with pytest.raises(InputError, match="1 ids for 2 titles"):
        KeywordIndex(["a"], ["x", "y"])
    with pytest.raises(InputError, match="k is 0"):
        KeywordIndex(["a"], ["x"]).search("x", 0)


def test_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    KeywordIndex(["a", "b"], ["red dress", "blue dress"]).search("dress", 2)
    assert capfd.readouterr() == ("", "")
