"""A model trained on real fashion products by `mmprod finetune`, judged on products it has never seen.

    python benchmarks/finetune_fashion.py [--data DIR] [--folder DIR] [--steps 2400] [--item-steps 600]

From a small CLIP with random weights: first ``--task retrieval`` on titles and attribute texts, then
``--task same-item`` on relisted copies. Each model is judged on the unseen catalogue of `fashion/tables.py`:
attribute texts (P@10, mAP) beside BM25 on true and on stuffed titles, titles → pictures (R@k), and the other
listing of the same item (recall@1 by picture, title, 1:1 and 7:3). Writes FOLDER/fashion.html, the page of
the training, and FOLDER/figures.json. Run again in the same folder it trains nothing twice.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's own folder out

from fashion.ablation import Catalogues, Judged

from mmprod.datasets.text import normalise_title
from mmprod.encoders.clip import load, save, wrap
from mmprod.encoders.train import untrained
from mmprod.eval.runs import ranked_scores
from mmprod.lake import Lake
from mmprod.retrieval.keyword import KeywordIndex

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "fashion"
BASE = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 2, 1], "width": 24},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 192, "heads": 6, "layers": 2},
}
RETRIEVAL = {"batch-size": 256, "lr": 1e-3, "warmup": 100, "eval-steps": 300}
SAME_ITEM = {"batch-size": 256, "lr": 5e-4, "warmup": 50, "eval-steps": 100}


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--steps", type=int, default=2400, help="retrieval steps of 256 pairs")
    parser.add_argument("--item-steps", type=int, default=600, help="same-item steps of 256 pairs")
    given = parser.parse_args()
    if not (given.data / "products.parquet").exists():
        print(f"skipped: {given.data / 'products.parquet'} is not there; name its folder with --data")
        return 0 if given.data == DATA else 2
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        catalogues = Catalogues(given.data, folder)
        clean, items = (catalogues.pairs(name, filtered=False)[0] for name in ("clean", "items"))
        base = folder / "base"
        if not base.exists():
            base.mkdir()
            save(wrap(*untrained(BASE, seed=0)), base)
        finetune(folder, "retrieval", f"local-dir:{base}", clean, "fashion", given.steps, RETRIEVAL)
        finetune(folder, "same-item", "lake:fashion", items, "items", given.item_steps, SAME_ITEM)
        for name in ("fashion", "items"):
            mmprod(folder, "training", name, "--out", folder / f"{name}.html")
        tell(folder)
    return 0


def finetune(
    folder: Path, task: str, base: str, store: Path, name: str, steps: int, options: dict[str, Any]
) -> None:
    """Train by the command, and show what it says."""
    words = [word for key, value in (options | {"steps": steps}).items() for word in (f"--{key}", value)]
    told = mmprod(
        folder, "finetune", "--task", task, "--base", base, "--store", store, "--name", name, *words
    )
    stage = json.loads(told)["stages"][0]
    print(f"{name}: {stage['changed']:,} pairs, {stage['seconds']:,.0f} s, {stage['detail']}", flush=True)


def mmprod(folder: Path, *words: object) -> str:
    command = [str(Path(sys.executable).with_name("mmprod")), *map(str, words)]
    command += ["--lake", str(folder / "lake"), "--json"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def tell(folder: Path) -> None:
    """Judge both models and BM25, and print it all."""
    judged, lake = Judged(folder), Lake(folder / "lake")
    found = {name: judged(load(lake.encoder_name(f"lake:{name}"))) for name in ("fashion", "items")}
    found |= keywords(folder, judged)
    (folder / "figures.json").write_text(json.dumps(found, indent=1))
    measures = list(found["fashion"])
    print(f"\n{'%':24}" + "".join(f"{measure:>12}" for measure in measures))
    for name, values in found.items():
        cells = (f"{values[m] * 100:12.1f}" if m in values else f"{'–':>12}" for m in measures)
        print(f"{name:24}" + "".join(cells))


def keywords(folder: Path, judged: Judged) -> dict[str, dict[str, float]]:
    """BM25 over the titles of the first day, as they are and with 30 % stuffed, for the same texts."""
    first = pq.read_table(folder / "day1.parquet", columns=["sku", "title"]).to_pylist()
    true = {row["sku"]: normalise_title(row["title"]) for row in first}
    stuffed = pq.read_table(folder / "stuffed.parquet", columns=["sku", "title"]).to_pylist()
    lying = true | {row["sku"]: normalise_title(row["title"]) for row in stuffed}
    found = {}
    for name, titles in (("BM25, true titles", true), ("BM25, 30 % stuffed", lying)):
        index = KeywordIndex(list(titles), list(titles.values()))
        for words in ("query", "spoken"):
            ranked = {q["query"]: [p for p, _ in index.search(q[words], 10)] for q in judged.queries}
            wanted = {q["query"]: set(q["relevant"]) for q in judged.queries}
            scores = ranked_scores(ranked, wanted, ["P@10"]).values["P@10"]
            found[name + (", sellers' words" if words == "spoken" else "")] = {"P@10": float(np.mean(scores))}
    return found


if __name__ == "__main__":
    sys.exit(main())
