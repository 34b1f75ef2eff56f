"""`mmprod bench embed`: a rate for what the store holds, and nothing written."""

import json

import pytest

from mmprod.stages.daily.embed_speed import Speed


def speed(**rates: float) -> Speed:
    told = {"products": 9, "pictures": 9, "titles": 9, "backend": "torch-fp32", "device": "cpu", "threads": 2}
    return Speed(**{"whole": 1.0, "decoding": 1.0, "towers": 1.0, "busy": 0.5, **told, **rates})  # type: ignore[arg-type]


@pytest.mark.parametrize(("decoding", "towers", "word"), [(90, 500, "decoding"), (500, 90, "towers")])
def test_the_slower_of_both_is_what_limits(decoding: float, towers: float, word: str) -> None:
    assert word in speed(decoding=decoding, towers=towers).limit


def test_a_sample_is_embedded_and_nothing_is_written(forked, tmp_path) -> None:
    def mmprod(*words: str):
        return forked.mmprod(*words, folder=tmp_path)

    empty = mmprod("bench", "embed")
    assert empty.status == 1 and "store" in empty.err
    assert mmprod("sample-catalog", "shop", "--products", "84").status == 0
    assert mmprod("ingest", "--day", "2025-03-03", "--table", "shop/day1.parquet").status == 0
    assert mmprod("train", "--table", "shop/train.parquet", "--steps", "1", "--batch-size", "8").status == 0
    done = mmprod("bench", "embed", "--products", "30", "--json")
    told = json.loads(done.out)
    assert told["products"] == told["titles"] == 30 >= told["pictures"] > 20
    assert min(told["whole"], told["decoding"], told["towers"]) > 0 and 0 < told["busy"] <= 1
    assert not (tmp_path / "lake" / "embeddings").exists()
    assert "limited by" in mmprod("bench", "embed", "--products", "30").out
