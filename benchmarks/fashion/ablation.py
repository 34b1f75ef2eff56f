"""Catalogues to train on, training by an arm's recipe, and judging on products never trained on."""

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from fashion.rubbish import plant
from fashion.tables import CONFIG, relist
from PIL import Image, ImageEnhance
from torchvision.transforms.functional import adjust_hue

from mmprod.config import load
from mmprod.datasets.images.images import decode
from mmprod.datasets.pairs.augment import Augment
from mmprod.datasets.pairs.pairs import candidates, identity, numbered
from mmprod.datasets.pairs.reader import PairReader
from mmprod.datasets.text import normalise_title
from mmprod.encoders.clip import Encoder, wrap
from mmprod.encoders.towers import trim
from mmprod.encoders.train import tiny_config
from mmprod.encoders.training.dual import contrastive
from mmprod.encoders.training.loader import Loader
from mmprod.encoders.training.options import Options
from mmprod.encoders.training.sampler import Sampler
from mmprod.encoders.training.trainer import Trainer, fit, prepare
from mmprod.eval.retrieval import means, text_to_picture
from mmprod.eval.runs import ranked_scores, same_items
from mmprod.lake import Lake
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.store import open_store
from mmprod.stages.training.pairs import select_pairs

BATCH, TITLES = 128, 2000
WEIGHTINGS = {"item image": (1, 0), "item text": (0, 1), "item 1:1": (0.5, 0.5), "item 7:3": (0.7, 0.3)}


class Catalogues:
    """Product stores to train on, each made when first asked for."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.folder = folder
        script = Path(__file__).with_name("tables.py")
        if not (folder / "queries.parquet").exists():
            subprocess.run([sys.executable, script, "--data", data, "--folder", folder], check=True)

    def pairs(self, name: str, filtered: bool) -> tuple[Path, pa.Table]:
        """The store of a catalogue and the pairs to train on, all or only those the quality rules keep."""
        lake, config = Lake(self.folder / name), self._config(name)
        if not lake.store.exists():
            table = self.folder / f"train-{name}.parquet"
            pq.write_table(pa.Table.from_pylist(self._rows(name)), table)
            with open_store(lake, config, read_only=False) as store:
                ingest_table(lake, config, store, table, date(2024, 3, 1))
        with open_store(lake, config) as store:
            if not filtered:
                return lake.store, numbered(candidates(store.iterate())[0])
            whole = config.model_copy(update={"pairs": config.pairs.model_copy(update={"held_out": 0.0})})
            return lake.store, select_pairs(lake, whole, store).pairs

    def _config(self, name: str) -> Any:
        file = self.folder / f"{name}.toml"
        file.write_text(CONFIG + 'spu_id = "spu"\n')
        return load(file, {"lake": str(self.folder / name)}).config

    def _rows(self, name: str) -> list[dict[str, Any]]:
        rows = pq.read_table(self.folder / "train.parquet").to_pylist()
        titled, asked = rows[0::2], rows[1::2]  # each picture with its title, then with its attributes
        for row in rows:
            row["spu"] = None
        for row in asked:
            row["sku"] = "A" + row["sku"]
        if name == "repeated":
            return asked
        if name == "items":
            originals = [row | {"spu": row["sku"]} for row in titled if row["title"]]
            return originals + [relist(row) | {"spu": row["spu"]} for row in originals]
        if name == "rubbish":
            return plant(rows, 0.3, seed=0)
        return rows


def train(catalogues: Catalogues, folder: Path, name: str, arm: Any, seed: int, steps: int) -> Encoder:
    """The encoder that `arm` gives with this seed; its checkpoints and model are kept below `folder`."""
    store, pairs = catalogues.pairs(arm.catalogue, arm.filtered)
    plan = {"batch_size": BATCH, "steps": steps, "lr": 1e-3, "warmup": 20, "grad_clip_norm": None}
    options = Options(**{**plan, "eval_steps": steps, "checkpoint_steps": steps, "seed": seed, **arm.options})
    model = fresh(seed)
    if arm.base:
        state = torch.load(run_folder(folder, arm.base, seed, steps) / "best.pt", weights_only=True)
        model.load_state_dict(state["model"])
    prepare(model, options)
    who = identity(pairs) if arm.identity else np.full((len(pairs), 3), -1)
    tokenizer = open_clip.SimpleTokenizer(context_length=tiny_config()["text_cfg"]["context_length"])
    look = Look(arm.colour, 64, "longest", 255, scale=(options.crop_scale, 1.0), flip=options.flip)
    reader = PairReader(store, pairs, look, seed, 1 << 30)
    titles = pairs["title"].to_pylist()
    loader = Loader(reader, titles, who, lambda texts: trim(model, tokenizer(texts)))
    sampler = Sampler(len(pairs), BATCH, seed, who[:, 0] if arm.same_item else None)
    objective = contrastive(model, tiny_config()["embed_dim"], options, arm.same_item)
    trainer = Trainer(model, objective, options, steps, "cpu")
    place = run_folder(folder, name, seed, steps)
    best = fit(
        trainer, loader, sampler, place, lambda model: {"step": 1.0}, "step", lambda step, scalars: None
    )
    return wrap(best, tokenizer)


def run_folder(folder: Path, name: str, seed: int, steps: int) -> Path:
    return folder / f"{name.replace(' ', '-')}-{seed}-{steps}"


def fresh(seed: int) -> Any:
    """The small CLIP with random weights."""
    torch.manual_seed(seed)
    model = open_clip.CLIP(**tiny_config())
    look = open_clip.transform.PreprocessCfg(resize_mode="longest", fill_color=255)
    open_clip.set_model_preprocess_cfg(model, {**vars(look), "size": 64})
    return model.to(memory_format=torch.channels_last)


class Look(Augment):
    """The bounded crop and mirror, and before them random brightness, contrast, saturation and hue."""

    def __init__(self, colour: float, *geometry: Any, **more: Any) -> None:
        super().__init__(*geometry, **more)
        object.__setattr__(self, "colour", colour)

    def __call__(self, picture: Image.Image, random: np.random.Generator) -> np.ndarray:
        strength: float = self.colour  # type: ignore[attr-defined]
        if strength:
            for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                picture = change(picture).enhance(random.uniform(1 - strength, 1 + strength))
            picture = adjust_hue(picture, random.uniform(-strength / 4, strength / 4))
        return super().__call__(picture, random)


class Judged:
    """Measures an encoder on the unseen catalogue; pictures are decoded once."""

    def __init__(self, folder: Path) -> None:
        first, last = (pq.read_table(folder / f"day{day}.parquet") for day in (1, 3))
        truth = pq.read_table(folder / "truth.parquet").to_pylist()
        self.items = same_items({row["product_id"]: row["item"] for row in truth})
        self.queries = pq.read_table(folder / "queries.parquet").to_pylist()
        rows = {row["sku"]: row for row in last.to_pylist()} | {row["sku"]: row for row in first.to_pylist()}
        self.ids = np.array(list(rows))
        self.first = np.isin(self.ids, first["sku"].to_pylist())
        self.titles = [normalise_title(row["title"]) or "-" for row in rows.values()]
        self.rows, self.pictures = list(rows.values()), None

    def __call__(self, encoder: Encoder) -> dict[str, float]:
        """P@10 and mAP of attribute texts over the first day's products, R@k of titles, and recall@1 of the
        other listing of an item by weights."""
        image, text = self._images(encoder), encoder.titles(self.titles)
        return self._texts(encoder, image) | self._retrieval(image, text) | self._same_item(image, text)

    def _images(self, encoder: Encoder) -> np.ndarray:
        if self.pictures is None:
            made = [encoder.transform(decode(row["image"])) for row in self.rows]
            self.pictures = torch.stack(made)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            parts = [encoder.model.encode_image(p, normalize=True) for p in self.pictures.split(256)]
        return torch.cat(parts).float().numpy()

    def _texts(self, encoder: Encoder, image: np.ndarray) -> dict[str, float]:
        vectors = encoder.titles([q["query"] for q in self.queries])
        ids = self.ids[self.first]
        order = np.argsort(-vectors @ image[self.first].T, axis=1, kind="stable")
        ranked = {q["query"]: ids[row].tolist() for q, row in zip(self.queries, order, strict=True)}
        wanted = {q["query"]: set(q["relevant"]) for q in self.queries}
        scores = ranked_scores(ranked, wanted, ["P@10", "AP"])
        return {"P@10": float(scores.values["P@10"].mean()), "mAP": float(scores.values["AP"].mean())}

    def _retrieval(self, image: np.ndarray, text: np.ndarray) -> dict[str, float]:
        rows = np.flatnonzero(self.first)[:TITLES]
        titles = {title: number for number, title in enumerate(dict.fromkeys(self.titles))}
        own = np.arange(len(rows))
        named = [titles[self.titles[row]] for row in rows]
        who = np.stack([np.full(len(rows), -1), own, named], axis=1)
        found = means(text_to_picture(text[rows], image[rows], who), ["-"] * len(rows))["all"]
        return {name: found[name] for name in ("R@1", "R@5", "R@10")}

    def _same_item(self, image: np.ndarray, text: np.ndarray) -> dict[str, float]:
        place = {name: row for row, name in enumerate(self.ids.tolist())}
        asked = [place[name] for name in self.items]
        found = {}
        scores = {side: vectors[asked] @ vectors.T for side, vectors in (("image", image), ("text", text))}
        for weighting, (w_image, w_text) in WEIGHTINGS.items():
            mixed = w_image * scores["image"] + w_text * scores["text"]
            mixed[np.arange(len(asked)), asked] = -np.inf
            best = self.ids[mixed.argmax(axis=1)].tolist()
            hits = [name in others for name, others in zip(best, self.items.values(), strict=True)]
            found[weighting] = float(np.mean(hits))
        return found
