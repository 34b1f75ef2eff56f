"""Vectors of every backend against torch in fp32, on real pictures and titles, in batches of 1 to 64.

    python benchmarks/backend_vectors.py [--families ViT-B-32 SigLIP] [--pictures 200] [--data DIR]

Architectures of ViT-B-32, ViT-B-16, SigLIP (ViT-B-16-SigLIP), Chinese-CLIP (ViT-B-16, RoBERTa of 12 layers)
and MobileCLIP2 (S0), with random weights. Pictures: fashion, shop photos and packshots, evenly. The reference
is open_clip's own transform and torch. Printed are the worst cosine of any input in any batch size, that
without the mean of the reference, which all vectors share, and the batch size of the worst.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow.parquet as pq
import torch
import transformers
from load.tables import show

from mmprod.datasets.images.images import decode
from mmprod.encoders import chinese_clip
from mmprod.encoders.backends import TORCH, kind_of, precision_of
from mmprod.encoders.blip.tokenizer import learn_tokenizer
from mmprod.encoders.clip import Encoder, wrap
from mmprod.encoders.export.build import build
from mmprod.encoders.export.engine import load_engine
from mmprod.encoders.export.inputs import pixels
from mmprod.encoders.export.spec import Backend
from mmprod.encoders.random_base import t5_tokenizer
from mmprod.encoders.tokens import BertTokens

DATA = Path(__file__).parents[2] / "shared" / "data"
SIZES = (1, 7, 16, 64)
FEW = 24  # inputs tried in batches of less than 16
FORMS: tuple[Backend, ...] = ("onnx-fp32", "openvino-fp32", "openvino-bf16")
SOURCES = ("fashion/products", "grocery/photos_train", "grocery/products")
FAMILIES = ("ViT-B-32", "ViT-B-16", "SigLIP", "Chinese-CLIP", "MobileCLIP2")
Run = Callable[[np.ndarray], np.ndarray]


def encoder_of(family: str, titles: list[str]) -> Encoder:
    """An encoder of that architecture with random weights."""
    torch.manual_seed(0)
    if family == "SigLIP":
        return wrap(open_clip.create_model("ViT-B-16-SigLIP"), t5_tokenizer(titles))
    if family == "Chinese-CLIP":
        return chinese(titles)
    name = "MobileCLIP2-S0" if family == "MobileCLIP2" else family
    return wrap(open_clip.create_model(name), open_clip.get_tokenizer("ViT-B-32"))


def chinese(titles: list[str]) -> Encoder:
    """Chinese-CLIP's base size, with a vocabulary of the titles."""
    pieces = learn_tokenizer(titles, 20_000, chinese_clip.CONTEXT).pieces
    shape = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    }
    config = transformers.ChineseCLIPConfig(
        text_config={**shape, "vocab_size": len(pieces), "max_position_embeddings": 512},
        vision_config={**shape, "image_size": 224, "patch_size": 16},
        projection_dim=512,
    )
    model = chinese_clip.ChineseClip(config)
    look = open_clip.transform.PreprocessCfg(size=224, resize_mode="squash")
    open_clip.set_model_preprocess_cfg(model, dict(vars(look)))
    return wrap(model.eval(), BertTokens(pieces, chinese_clip.CONTEXT))


def inputs(data: Path, count: int) -> tuple[list[Any], list[str]]:
    """So many decoded pictures, evenly of all sources, and titles."""
    pictures = []
    for source in SOURCES:
        column = pq.read_table(data / f"{source}.parquet", columns=["image"])["image"].to_pylist()
        share = -(-count // len(SOURCES))
        pictures += [decode(data) for data in column[:: max(1, len(column) // share)][:share] if data]
    titles = pq.read_table(data / "fashion/products.parquet", columns=["title"])["title"].to_pylist()
    titles = [title for title in titles if title]
    return pictures, titles[:: max(1, len(titles) // count)][:count]


def worst(run: Run, rows: np.ndarray, true: np.ndarray) -> tuple[float, float, int]:
    """The worst cosine, the worst centred one, and the batch size of the worst."""
    mean, found = true.mean(axis=0), []
    for size in SIZES:
        some = rows if size >= 16 else rows[:FEW]
        made = np.concatenate([run(some[start : start + size]) for start in range(0, len(some), size)])
        plain = (made * true[: len(made)]).sum(axis=1)
        a, b = made - mean, true[: len(made)] - mean
        centred = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
        found.append((float(plain.min()), float(centred.min()), size))
    return min(f[0] for f in found), min(f[1] for f in found), min(found)[2]


def compare(family: str, pictures: list[Any], titles: list[str]) -> list[tuple[object, ...]]:
    """A row for each backend and tower."""
    encoder, lines = encoder_of(family, titles), []
    seen, tokens = pixels(encoder, pictures), encoder.tokens(titles)
    plain = [encoder.transform(picture)[None] for picture in pictures]
    with torch.inference_mode():
        image = torch.cat([encoder.model.encode_image(p, normalize=True) for p in plain]).numpy()  # type: ignore[operator]
        text = encoder.model.encode_text(torch.from_numpy(tokens), normalize=True).numpy()  # type: ignore[operator]
    here: dict[str, tuple[Run, Run]] = {TORCH: (lambda b: encoder.of_pixels(list(b)), encoder.of_tokens)}
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMS:
            place, kind = Path(folder) / form, kind_of(form)
            assert kind  # none is torch
            place.mkdir()
            build(encoder, kind, precision_of(form), ("image", "text"), place)
            engine = load_engine(place)
            here[form] = engine.pictures, engine.trimmed_titles
        for name, (of_pictures, of_titles) in here.items():
            for tower, found in (
                ("image", worst(of_pictures, seen, image)),
                ("text", worst(of_titles, tokens, text)),
            ):
                lines.append((family, name, tower, f"{found[0]:.7f}", f"{found[1]:.6f}", found[2]))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--data", type=Path, default=DATA)
    given = parser.parse_args()
    if not given.data.is_dir():
        raise SystemExit(f"no folder {given.data}: name one with real products by --data")
    pictures, titles = inputs(given.data, given.pictures)
    print(f"{len(pictures)} pictures, {len(titles)} titles")
    rows = (row for family in given.families for row in compare(family, pictures, titles))
    show(("family", "backend", "tower", "worst cosine", "centred", "batch"), rows)


if __name__ == "__main__":
    main()
