"""Each judge against pictures and titles made so that its number is known, and the rules over them."""

import io
from datetime import date
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mmprod.datasets.pairs import picture_judges as look
from mmprod.datasets.pairs import title_judges as read
from mmprod.datasets.pairs.options import Quality
from mmprod.datasets.pairs.pairs import CANDIDATE
from mmprod.datasets.pairs.quality import PICTURE_RULES, TITLE_RULES, judge, sharing

SIZES = st.tuples(st.integers(8, 200), st.integers(8, 200))


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_levels_reduce_and_never_enlarge() -> None:
    assert look.levels(noise((40, 30))).shape == (30, 40, 3)
    assert look.levels(noise((1600, 800))).shape == (80, 160, 3)


def test_short_side_deviation_and_plain_share_by_hand() -> None:
    half = Image.new("RGB", (40, 30), "black")
    half.paste((200, 200, 200), (0, 0, 10, 30))
    assert look.short_side(half) == 30
    assert look.deviation(look.levels(half)) == pytest.approx(200 * (0.25 * 0.75) ** 0.5, rel=1e-6)
    assert look.plain_share(look.levels(half)) == 0.75
    assert look.plain_share(look.levels(Image.new("RGB", (9, 9), "red"))) == 1


def test_a_frame_is_coloured_and_has_straight_inner_edges() -> None:
    framed = Image.new("RGB", (100, 80), "navy")
    framed.paste(noise((60, 40)), (20, 20))
    assert look.frame_share(look.levels(framed)) == pytest.approx(1 - 60 * 40 / 8000)
    bars = Image.new("RGB", (100, 80), "red")
    bars.paste(noise((100, 40)), (0, 30))
    assert look.frame_share(look.levels(bars)) == pytest.approx(0.5)
    white = Image.new("RGB", (100, 80), "white")
    white.paste(noise((60, 40)), (20, 20))
    assert look.frame_share(look.levels(white)) == 0
    product = Image.new("RGB", (100, 80), "grey")
    ImageDraw.Draw(product).ellipse((20, 20, 80, 60), "red")
    assert look.frame_share(look.levels(product)) == 0
    assert look.frame_share(look.levels(Image.new("RGB", (9, 9), "red"))) == 0


def test_a_seam_runs_from_side_to_side() -> None:
    two = Image.new("RGB", (60, 60), (20, 20, 20))
    two.paste((200, 40, 40), (30, 0, 60, 60))
    assert look.seam(look.levels(two)) == 1
    part = Image.new("RGB", (60, 60), (20, 20, 20))
    part.paste((200, 40, 40), (30, 0, 60, 30))
    assert look.seam(look.levels(part)) == pytest.approx(0.5)
    edge = Image.new("RGB", (60, 60), (20, 20, 20))
    edge.paste((200, 40, 40), (58, 0, 60, 60))
    assert look.seam(look.levels(edge)) == 0


def test_writing_counts_changes_of_brightness_along_the_busiest_line() -> None:
    stripes = np.full((100, 100, 3), 255, np.uint8)
    stripes[40:60, 10:90:4] = 0  # 20 one-pixel strokes: 40 changes
    assert look.writing(look.levels(Image.fromarray(stripes))) == pytest.approx(40)
    assert look.writing(look.levels(Image.new("RGB", (50, 50), "red"))) == 0


@given(SIZES, st.integers(0, 9))
def test_numbers_of_any_picture_are_in_their_range(size: tuple[int, int], seed: int) -> None:
    levels = look.levels(noise(size, seed))
    assert 0 <= look.deviation(levels) <= 127.5
    for share in (look.plain_share, look.frame_share, look.seam):
        assert 0 <= share(levels) <= 1
    assert 0 <= look.writing(levels) < 160


def test_title_numbers_by_hand() -> None:
    assert [read.letters(t) for t in ("", "12 - 3", "Tee 5", "台灯", "Été")] == [0, 0, 3, 4, 3]
    assert [read.word_count(t) for t in ("", "red men's t-shirt", "台灯 新款")] == [0, 3, 2]
    assert read.repeated_share("Sale lamp SALE sale") == 0.5
    assert read.repeated_share("") == 0


def test_categories_are_found_in_titles_whatever_their_number() -> None:
    paths = [
        "Men > T-Shirts",
        "Men > Casual Shoes",
        "Gifts > Watches",
        "Home > Dresses",
        "家居 > 台灯",
        "X > Vases",
        "",
    ]
    names = read.category_names(paths)
    assert names == {"tshirt", "shoe", "watch", "dress", "台灯", "vase"}
    assert read.foreign_categories("Blue tshirts, watch and Shoes", "Men > Casual Shoes", names) == 2
    assert read.foreign_categories("极简风台灯 vase", "家居 > 台灯", names) == 1
    assert read.foreign_categories("watchful dressing", "", names) == 0


def candidates(rows: list[dict[str, object]]) -> pa.Table:
    fixed = {"title": "Good lamp", "category": "Home > Lamps", "active_day": date(2024, 1, 1)}
    return pa.Table.from_pylist([{**fixed, **row} for row in rows], CANDIDATE)


def test_sharing_counts_items_not_listings() -> None:
    one, two = b"1" * 16, b"2" * 16
    rows = [
        ("a", one, "s"),
        ("b", one, "s"),
        ("c", one, "t"),
        ("d", one, None),
        ("e", one, None),
        ("f", two, "s"),
    ]
    table = candidates([{"product_id": n, "image_hash": h, "spu_id": s} for n, h, s in rows])
    assert sharing(table).tolist() == [4, 4, 4, 4, 4, 1]


def encoded(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def shop() -> tuple[pa.Table, SimpleNamespace]:
    """Good and bad products: the first bad thing about each is its name."""
    flat = Image.new("RGB", (60, 60), (90, 90, 90))
    pictures = {
        "good": noise((60, 60)),
        "too_small": noise((60, 20)),
        "blank": flat,
        "disagreement": noise((60, 60)),
    }
    titles = {
        "title_short": "7",
        "title_repeats": "lamp lamp lamp",
        "title_long": "a b c " + "d" * 9 + " e" * 40,
    }
    store = {name.encode().ljust(16): encoded(picture) for name, picture in pictures.items()}
    rows = [{"product_id": name, "image_hash": name.encode().ljust(16)} for name in pictures]
    rows += [
        {"product_id": name, "image_hash": b"good".ljust(16), "title": title}
        for name, title in titles.items()
    ]
    store[b"torn".ljust(16)] = encoded(noise((60, 60)))[:300]
    rows += [{"product_id": "undecodable", "image_hash": b"torn".ljust(16)}]
    rows += [{"product_id": "lost", "image_hash": b"lost".ljust(16)}]
    return candidates(rows), SimpleNamespace(picture=store.get)


def test_each_pair_is_rejected_for_the_first_rule_it_breaks(shop) -> None:
    table, store = shop
    done: list[int] = []
    off = dict.fromkeys(["max_writing", "max_seam"])  # noise is all edges
    quality = Quality(min_agreement=0.2, max_words=40, **off)
    kept, rejected = judge(table, store, quality, {"disagreement": 0.1, "good": 0.2}, on_done=done.append)
    assert kept["product_id"].to_pylist() == ["good"]
    assert kept.schema == CANDIDATE
    found = {row["product_id"]: (row["reason"], row["value"]) for row in rejected.to_pylist()}
    assert {name: reason for name, (reason, _) in found.items()} == {
        **{name: name for name in table["product_id"].to_pylist() if name not in ("good", "lost")},
        "lost": "undecodable",
    }
    assert found["too_small"][1] == 20
    assert found["disagreement"][1] == pytest.approx(0.1)
    assert found["undecodable"][1] is None
    assert sum(done) == len(table)


def test_a_rule_that_is_off_rejects_nothing(shop) -> None:
    table, store = shop
    quality = Quality(**dict.fromkeys(Quality.model_fields))
    kept, rejected = judge(table, store, quality, {"disagreement": 0.0})
    assert set(rejected["reason"].to_pylist()) == {"undecodable"}
    assert len(kept) + len(rejected) == len(table)


def test_off_can_be_written_and_every_bound_has_a_rule() -> None:
    assert Quality(max_frame="off").max_frame is None
    rules = TITLE_RULES | PICTURE_RULES
    assert set(rules.values()) == set(Quality.model_fields)


def test_an_empty_table_is_judged() -> None:
    kept, rejected = judge(candidates([]), SimpleNamespace(picture=lambda key: None), Quality(), {})
    assert len(kept) == len(rejected) == 0
