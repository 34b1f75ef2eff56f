"""Models of sentence-transformers as encoders, shown on a tiny CLIP with random weights, and in a lake."""

import io
import shutil
import string
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from mmprod.config import load as load_config
from mmprod.datasets.images.geometry import Geometry
from mmprod.datasets.images.shrink import shrink
from mmprod.datasets.schemas import PRODUCT
from mmprod.lake import Lake
from mmprod.reader import Reader
from mmprod.stages.daily.embed import read_embeddings
from mmprod.stages.daily.run import run_day
from mmprod.stages.encoder import load_encoder
from mmprod.stages.search.answer import Asked, answer
from mmprod.stages.search.query import Query
from mmprod.storage.errors import InputError, StateError

SIDE, WIDTH, CONTEXT = 32, 24, 24
TITLES = ["red mug", "blue vase", "a very long title of a product that goes on and on", "x"]


def picture(number: int, size: tuple[int, int]) -> Image.Image:
    noise = np.random.default_rng(number).integers(0, 255, (4, 4, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


PICTURES = [picture(1, (SIDE, SIDE)), picture(2, (90, 60)), picture(3, (40, 200))]


def save_clip(folder: Path) -> None:
    """A CLIP that spells, as transformers saves it."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

    letters = string.ascii_lowercase + string.digits
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    start, end = len(words) - 2, len(words) - 1
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end, "vocab_size": len(words)}
    torch.manual_seed(1)
    config = CLIPConfig(
        text_config=tower | tokens | {"max_position_embeddings": CONTEXT},
        vision_config=tower | {"image_size": SIDE, "patch_size": 8},
        projection_dim=WIDTH,
    )
    CLIPModel(config).save_pretrained(folder)
    pictures = CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, do_center_crop=True
    )
    tokenizer = CLIPTokenizerFast(vocab=vocabulary, merges=[], model_max_length=CONTEXT)
    CLIPProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(missing: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sentence-transformers' form."""
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules.transformer import Transformer
    except ImportError:
        missing("sentence-transformers", 'pip install -e ".[sentence-transformers]"')
    root = tmp_path_factory.mktemp("sentences")
    save_clip(root / "clip")
    SentenceTransformer(modules=[Transformer(str(root / "clip"))], device="cpu").save(str(root / "model"))
    return root / "model"


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Any:
    from mmprod.encoders.sentence_transformers import load

    return load(str(folder))


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a.astype(np.float64) * b, axis=1)


def test_vectors_are_those_of_the_models_own_encode_at_unit_length(encoder: Any) -> None:
    own = encoder.model.encode(TITLES, show_progress_bar=False)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    titles = encoder.titles(TITLES)
    assert (titles.shape, titles.dtype, encoder.width) == ((4, WIDTH), np.float32, WIDTH)
    np.testing.assert_allclose(titles, own, atol=1e-6)
    np.testing.assert_array_equal(encoder.of_tokens(encoder.tokens(TITLES)), titles)
    np.testing.assert_allclose(
        encoder.of_tokens(encoder.tokens(["红 mug 🫖"])), encoder.titles(["红 mug 🫖"])
    )
    own = encoder.model.encode(PICTURES, show_progress_bar=False)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    found = encoder.pictures(PICTURES)
    np.testing.assert_allclose(found[0], own[0], atol=1e-5)  # of the tower's own size: nothing is resized
    assert cosines(found, own).min() > 0.999
    assert encoder.cut(encoder.tokens(TITLES)) == 1
    assert encoder.titles([]).shape == encoder.of_pixels([]).shape == (0, WIDTH)
    assert len(encoder.tokens([])) == 0


def test_the_fingerprint_follows_weights_and_files_but_not_the_place(
    folder: Path, encoder: Any, tmp_path: Path
) -> None:
    from mmprod.encoders.sentence_transformers import load

    shutil.copytree(folder, tmp_path / "same")
    assert load(str(tmp_path / "same")).fingerprint == encoder.fingerprint
    path = tmp_path / "same" / "config_sentence_transformers.json"
    path.write_text(path.read_text().replace('"prompts": {', '"prompts": {"shop": "a product: ",'))
    assert load(str(tmp_path / "same")).fingerprint != encoder.fingerprint


def test_whole_pictures_are_only_made_smaller() -> None:
    geometry = Geometry(100, 100, "whole", "bicubic", 0)
    sink = io.BytesIO()
    picture(4, (300, 150)).save(sink, "JPEG", quality=95)
    quick, plain = shrink(sink.getvalue(), geometry).pixels, geometry.pixels(picture(4, (300, 150)))
    assert quick.shape == plain.shape == (3, 50, 100)
    assert np.abs(quick.astype(int) - plain).mean() < 3
    small = picture(5, (30, 60))
    np.testing.assert_array_equal(geometry.pixels(small), np.asarray(small).transpose(2, 0, 1))


def test_a_model_that_takes_any_size_gets_whole_pictures(encoder: Any) -> None:
    from mmprod.encoders.sentence_transformers import LIMIT, SentenceEncoder, _geometry

    processor = encoder.model.processor.image_processor
    before = dict(processor.size)
    assert _geometry(encoder.model) == Geometry(SIDE, SIDE, "shortest", "bicubic", 0)
    processor.size = {"shortest_edge": SIDE - 8}
    try:
        whole = _geometry(encoder.model)
    finally:
        processor.size = before
    assert whole == Geometry(LIMIT, LIMIT, "whole", "bicubic", 0)
    kept = SentenceEncoder(encoder.model, whole, WIDTH, "", 2)
    own = encoder.model.encode(PICTURES, show_progress_bar=False, normalize_embeddings=True)
    np.testing.assert_allclose(kept.pictures(PICTURES), own, atol=1e-5)


def test_what_is_no_such_model_is_refused(folder: Path, tmp_path: Path) -> None:
    from mmprod.encoders.sentence_transformers import load

    def copied(name: str) -> Path:
        shutil.copytree(folder, tmp_path / name)
        return tmp_path / name

    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no modules\.json"):
        load(str(tmp_path / "empty"))
    pickled = copied("pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin is a pickle"):
        load(str(pickled))
    bare = copied("bare")
    (bare / "model.safetensors").unlink()
    with pytest.raises(InputError, match="holds no weights"):
        load(str(bare))
    cut = copied("cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-50])
    with pytest.raises((InputError, StateError), match="cut"):
        load(str(cut.parent))


def test_the_extra_is_named_where_it_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmprod.encoders.sentence_transformers import load

    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"mmprod\[sentence-transformers\]"):
        load(str(folder))


def test_a_lake_is_embedded_indexed_and_searched_with_it(folder: Path, encoder: Any, tmp_path: Path) -> None:
    (tmp_path / "mmprod.toml").write_text(
        f'lake = "lake"\n[encoder]\nmodel = "sentence-transformers:{folder}"\n[index]\nmax_similarity = 1.0\n'
    )
    sizes = [(SIDE, SIDE), (64, 48)]
    rows: list[dict[str, Any]] = []
    for number in range(12):
        sink = io.BytesIO()
        picture(number, sizes[number % 2]).save(sink, "PNG")
        title = f"thing {number}" if number else TITLES[2]
        rows.append({"product_id": f"p{number:02d}", "image": sink.getvalue(), "title": title})
    pq.write_table(pa.Table.from_pylist(rows, PRODUCT), tmp_path / "day.parquet")
    config = load_config(tmp_path / "mmprod.toml").config
    lake = Lake(config.lake)
    outcomes = {o.stage: o for o in run_day(lake, config, tmp_path / "day.parquet", date(2025, 1, 1))}
    detail = outcomes["embed"].detail
    assert (detail["pictures"], detail["titles"], detail["titles_cut"]) == (12, 12, 1)
    table = read_embeddings(lake, config).lookup([row["product_id"] for row in rows])
    opened = [Image.open(io.BytesIO(row["image"])).convert("RGB") for row in rows]
    want = encoder.pictures(opened)
    np.testing.assert_allclose(np.stack([table[r["product_id"]].image for r in rows]), want, atol=2e-3)
    with Reader(lake, config) as reader:
        found = answer(reader, Asked(Query(["thing 3"]), None, "selection", top=12, fold=False))
    scores = want @ encoder.titles(["thing 3"])[0]
    np.testing.assert_allclose([hit.score for hit in found], np.sort(scores)[::-1], atol=3e-3)
    with pytest.raises(InputError, match="this needs a model that mmprod runs in torch itself"):
        load_encoder(lake, config)
