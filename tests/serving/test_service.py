"""The service in this process: scores by their formula and equal to the stages', and what it refuses."""

import dataclasses
import io
import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmprod.retrieval.fusion import fuse
from mmprod.serving.errors import Refused
from mmprod.serving.release import FILE, Limits, Release, ServedProfile
from mmprod.serving.service import Service
from mmprod.serving.types import Product
from mmprod.stages.encoder import load_encoder
from mmprod.stages.search.search import search_product, search_text
from mmprod.stages.search.similarity import similarity
from mmprod.storage.errors import StateError

HTML = b"<!doctype html><p>not found</p>"


def test_a_pairs_score_is_the_weighted_sum_of_its_cosines(service: Service, world: Any) -> None:
    ids = world.both()
    for profile, served in world.config.profiles.items():
        pairs = [(Product(a), Product(b)) for a, b in pairwise(ids)]
        for found in service.similarity(pairs[:60], profile):
            image, text = np.nan_to_num([found.image_score, found.text_score])
            assert found.score == pytest.approx(served.image * image + served.text * text, abs=1e-6)


def test_a_product_is_the_same_by_id_and_by_content(service: Service, world: Any) -> None:
    """Up to the float16 that vectors are kept in."""
    ids = world.both()[:30]
    pairs = [(Product(name), world.content(name)) for name in ids]
    scores = [found.score for found in service.similarity(pairs, "same_item")]
    assert scores == pytest.approx([1] * 30, abs=5e-4)


def test_similarity_is_what_the_stage_says(service: Service, world: Any) -> None:
    a, b = world.both()[:2]
    with world.store as store:
        wanted = similarity(world.config, store, load_encoder(world.lake, world.config), a, b)
    for profile, score in wanted.profiles.items():
        found = service.similarity([(world.content(a), world.content(b))], profile)[0]
        assert found.score == pytest.approx(score, abs=2e-5)
        if profile != "selection":
            parts = (found.image_score, found.text_score)
            assert parts == pytest.approx((wanted.image, wanted.text), abs=2e-5)


def test_sides_may_be_exchanged_and_mixed(service: Service, world: Any) -> None:
    a, b = world.both()[:2]
    sides = (Product(a), world.content(b))
    there, back = service.similarity([sides, sides[::-1]], "same_item")
    assert there.score == pytest.approx(back.score, abs=1e-7)


def test_a_missing_half_counts_nothing(service: Service, world: Any) -> None:
    whole = world.content(world.both()[0])
    title = Product(title=whole.title)
    found = service.similarity([(whole, title)], "same_item")[0]
    assert np.isnan(found.image_score) and found.text_score == pytest.approx(1, abs=1e-5)
    assert found.score == pytest.approx(0.5, abs=1e-5)


def test_search_is_what_the_stages_say(service: Service, world: Any) -> None:
    text, name = "red striped mug", world.both()[3]
    with world.store as store:
        encoder = load_encoder(world.lake, world.config)
        for profile in world.config.profiles:
            wanted = search_text(world.lake, store, encoder, text, profile, 10)
            found = service.search(Product(title=text), 10, profile, as_text=True)
            assert [one.score for one in wanted] == pytest.approx(found.scores.tolist(), abs=2e-5)
        near = search_product(world.lake, store, name, "same_item", 10)
    found = service.search(Product(name), 10, "same_item")
    assert found.product_ids == [one.product_id for one in near] and name not in found.product_ids


def test_search_keeps_to_a_category(service: Service, world: Any) -> None:
    found = service.search(Product(title="lamp"), 5, "same_item", "Home", as_text=True)
    with world.store as store:
        assert {record.category[0] for record in store.get_many(found.product_ids) if record} == {"Home"}


def test_every_answer_names_its_origin(service: Service, world: Any) -> None:
    a = world.both()[0]
    answers = (
        service.similarity([(Product(a), Product(a))], "same_item")[0],
        service.search(Product(a), 1, "same_item"),
    )
    generation = world.release.profiles["same_item"].generation
    assert {(one.generation, one.encoder) for one in answers} == {(generation, world.release.encoder)}


def test_the_verdict_is_by_the_stricter_of_both_categories(service: Service) -> None:
    """0.6 for lighting, 0.8 for all others; a title alone against the same title scores 0.5."""
    title = Product(title="red lamp")
    whole = Product(title="red lamp", picture=jpeg())
    lit = dataclasses.replace(whole, category="Home > Lighting > Lamps")
    lit_title = dataclasses.replace(title, category="Home > Lighting")
    pairs = [(whole, whole), (title, title), (lit, title), (title, lit), (lit, lit_title), (lit, lit)]
    found = service.similarity(pairs, "same_item")
    assert [(one.threshold, one.verdict) for one in found] == [
        (0.8, "same"),
        (0.8, "different"),
        (0.8, "different"),
        (0.8, "different"),
        (0.6, "different"),
        (0.6, "same"),
    ]
    unknown = service.similarity(pairs[:1], "similar_item")[0]
    assert np.isnan(unknown.threshold) and unknown.verdict == "unknown"


def test_a_category_without_a_precise_score_has_no_verdict_and_an_unknown_one_no_say(world: Any) -> None:
    served = dataclasses.replace(world.release.profiles["same_item"], thresholds={"Home": 0.7, "Toys": None})
    release = dataclasses.replace(world.release, profiles={"same_item": served})
    service = Service.open(release, threads=1)
    home, toy, other = (Product(title="red lamp", category=name) for name in ("Home", "Toys", ""))
    found = service.similarity([(home, other), (other, home), (toy, home), (toy, other)], "same_item")
    assert [one.threshold for one in found] == pytest.approx([0.7, 0.7, np.nan, np.nan], nan_ok=True)


def test_thresholds_come_from_the_narrowest_category() -> None:
    served = ServedProfile("g1", {}, {"all": 0.5, "Home": 0.6, "Home > Lighting": None})
    categories = ("", "Garden", "Home", "Home > Sofas", "Home > Lighting > Lamps", "Homes")
    assert [served.threshold(c) for c in categories] == [0.5, 0.5, 0.6, 0.6, None, 0.5]
    assert ServedProfile("g1", {}, {}).threshold("Home") is None


LONG = "x" * 1_048_577
REFUSED = [
    ("unknown_id", Product("D-none")),
    ("ambiguous", Product("D000001", title="red mug")),
    ("empty", Product()),
    ("empty", Product(title=" \u200b")),
    ("too_large", Product(title=LONG)),
    ("bad_image", Product(picture=HTML)),
    ("bad_image", Product(picture=b"\xff\xd8\xff" + b"\0" * 100)),
    ("not_comparable", Product(title="red mug")),
]


@pytest.mark.parametrize(("code", "product"), REFUSED, ids=[f"{c}-{i}" for i, (c, _) in enumerate(REFUSED)])
def test_what_is_at_fault_is_refused(service: Service, world: Any, code: str, product: Product) -> None:
    good = Product(world.both()[0])
    for pair in ((product, good), (good, product)):
        with pytest.raises(Refused) as refused:
            service.similarity([pair], "selection")
        assert refused.value.code == code
        assert Refused.parse(f"[400] {refused.value}").code == code  # type: ignore[union-attr]


@pytest.mark.parametrize(("code", "k", "profile", "category"), [
    ("bad_k", 0, "same_item", None),
    ("bad_k", 10**9, "same_item", None),
    ("unknown_profile", 1, "looks", None),
    ("unknown_category", 1, "same_item", "Nonsense"),
])  # fmt: skip
def test_searches_at_fault_are_refused(
    service: Service, world: Any, code: str, k: int, profile: str, category: str | None
) -> None:
    with pytest.raises(Refused) as refused:
        service.search(Product(world.both()[0]), k, profile, category)
    assert refused.value.code == code


def test_too_much_at_once_is_refused(service: Service, world: Any) -> None:
    good = Product(world.both()[0])
    for count, code in ((0, "empty"), (65, "too_large")):
        with pytest.raises(Refused) as refused:
            service.similarity([(good, good)] * count, "same_item")
        assert refused.value.code == code


def test_k_over_what_there_is_gives_what_there_is(service: Service, world: Any) -> None:
    found = service.search(Product(world.both()[0]), 1000, "same_item")
    assert len(found.product_ids) == len(set(found.product_ids)) == len(found.scores) > 50
    assert "" not in found.product_ids


def test_a_release_can_be_moved_and_tells_of_damage(world: Any, tmp_path: Path) -> None:
    shutil.copytree(world.release.path, tmp_path / "moved")
    Service.open(Release.read(tmp_path / "moved"), threads=1)
    for name in ("indexes/selection/index.faiss", "engine/text.onnx", "engine/tokenizer.json"):
        path = tmp_path / "moved" / name
        data = path.read_bytes()
        path.unlink()  # not through the link
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        with pytest.raises(StateError, match="sha256"):
            Service.open(Release.read(tmp_path / "moved"), threads=1)
        path.write_bytes(data)


def test_an_index_of_another_encoder_is_refused_with_both(world: Any, tmp_path: Path) -> None:
    shutil.copytree(world.release.path, tmp_path / "other")
    content = json.loads((tmp_path / "other" / FILE).read_text())
    content["encoder"] = "0" * 64
    (tmp_path / "other" / FILE).write_text(json.dumps(content))
    with pytest.raises(StateError, match=f"{world.release.encoder}, the release of {'0' * 64}"):
        Service.open(Release.read(tmp_path / "other"), threads=1)


def test_limits_are_of_bytes_and_pixels(world: Any) -> None:
    release = dataclasses.replace(world.release, limits=Limits(2, 10, 100_000, 100 * 100, 5))
    service = Service.open(release, threads=1)
    service.encoding.titles(["äöü1234"])
    for ask in (
        lambda: service.encoding.titles(["äöüß1234"]),
        lambda: service.encoding.pictures([jpeg(101)]),
        lambda: service.encoding.pictures([b"\xff\xd8\xff" + b"\0" * 100_000]),
        lambda: service.search(Product(world.both()[0]), 6, "same_item"),
    ):
        with pytest.raises(Refused):
            ask()


def test_vectors_by_hand(service: Service, world: Any) -> None:
    product = world.content(world.both()[0])
    encoder = load_encoder(world.lake, world.config)
    image = encoder.pictures([Image.open(io.BytesIO(product.picture)).convert("RGB")])
    text = encoder.titles([product.title])
    found = service.encode([product], "similar_item")
    np.testing.assert_allclose(found, fuse(image, text, (0.7, 0.3)), atol=2e-5)


def jpeg(side: int = 64) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(out, "JPEG")
    return out.getvalue()
