"""The lake that is served: made here from a rendered catalogue, or any project's; and requests about it."""

import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from load.wire import Ask, binary

from mmprod.config import load
from mmprod.datasets.store.store import Store
from mmprod.lake import Lake
from mmprod.stages.online.release import current_release

ROOT = Path(__file__).resolve().parents[2]
PROFILE = "same_item"


def mmprod(folder: Path, *words: object) -> Any:
    """What an `mmprod` command, configured by the folder's mmprod.toml, prints with --json."""
    command = [str(Path(sys.executable).with_name("mmprod")), *map(str, words)]
    command += ["--config", str(folder / "mmprod.toml"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def make_shop(products: int, steps: int = 240) -> Path:
    """A project whose lake has two releases, of different encoders; it is kept in the folder for temporary
    files and used again.
    """
    folder = Path(tempfile.gettempdir()) / f"mmprod-serving-{products}"
    if (folder / "lake" / "releases" / "g000002").is_dir():
        return folder
    print(f"rendering {products:,} products and training two small encoders in {folder}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)  # an earlier call that was broken off
    folder.mkdir()
    # How good the encoders are is not what is measured: the gate lets them through
    (folder / "mmprod.toml").write_text('lake = "lake"\n[index]\nmax_similarity = 1.0\n')
    catalogue = folder / "catalogue"
    subprocess.run(
        [Path(sys.executable).with_name("mmprod"), "sample-catalog", catalogue, "--products", str(products)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    day = json.loads((catalogue / "planted.json").read_text())[0]
    for seed in (0, 1):
        mmprod(folder, "train", "--table", catalogue / "train.parquet", "--steps", steps, "--seed", seed)
        if not seed:
            mmprod(folder, "ingest", "--table", catalogue / day["file"], "--day", day["day"])
        for command in ("embed", "index build", "export onnx", "release build"):
            mmprod(folder, *command.split())
    return folder


@dataclass(frozen=True)
class Catalogue:
    """Products of a release that have a picture and a title, and both of each."""

    ids: list[str]
    titles: list[str]
    pictures: list[bytes]

    @classmethod
    def read(cls, folder: Path, most: int = 512) -> "Catalogue":
        """Of the current release of the project in `folder`."""
        lake = Lake(load(folder / "mmprod.toml").config.lake)
        items = pq.read_table(current_release(lake).index(PROFILE) / "items.parquet").to_pylist()
        ids = [item["product_id"] for item in items if item["has_image"] and item["has_text"]][:most]
        with Store.open(lake.store, read_only=True) as store:
            records = [store.get(name) for name in ids]
            titles = [record.title for record in records if record]
            pictures = [store.picture(record.image_hash) or b"" for record in records if record]
        return cls(ids, titles, pictures)


def workloads(catalogue: Catalogue, count: int = 512, seed: int = 0) -> dict[str, list[Ask]]:
    """Requests by what they are called in tables, `count` of each, one item in each request.

    Titles are all different, so that no cache of answers takes part unasked.
    """
    return {name: list(_asks(catalogue, name, count, seed)) for name in _WORKLOADS}


def refused(catalogue: Catalogue) -> list[Ask]:
    """Requests that are at fault, as every service gets some."""
    pair = {"A_ID": ["no such product"], "B_ID": catalogue.ids[:1], "PROFILE": [PROFILE]}
    return [
        binary("pair_similarity", pair, 400),
        binary("image_encoder", {"PICTURE": [catalogue.pictures[0][:500]]}, 400),
        binary("product_search", {"TEXT": ["red mug"], "PROFILE": [PROFILE], "K": 0}, 400),
    ]


def _asks(catalogue: Catalogue, name: str, count: int, seed: int) -> Iterator[Ask]:
    chance = random.Random(seed)
    for _ in range(count):
        one, other = chance.randrange(len(catalogue.ids)), chance.randrange(len(catalogue.ids))
        values = {
            "id": [catalogue.ids[one]],
            "other": [catalogue.ids[other]],
            "title": [f"{catalogue.titles[one]} {next(_NUMBERS)}"],
            "picture": [catalogue.pictures[one]],
        }
        model, inputs = _WORKLOADS[name]
        tensors: dict[str, Any] = {tensor: values[value] for tensor, value in inputs.items()}
        if model in ("pair_similarity", "product_search"):
            tensors["PROFILE"] = [PROFILE]
        if model == "product_search":
            tensors["K"] = 10
        yield binary(model, tensors)


_NUMBERS = itertools.count()
_WORKLOADS = {
    "text_encoder": ("text_encoder", {"TITLE": "title"}),
    "image_encoder": ("image_encoder", {"PICTURE": "picture"}),
    "product_encoder": ("product_encoder", {"TITLE": "title", "PICTURE": "picture"}),
    "pair_similarity, two ids": ("pair_similarity", {"A_ID": "id", "B_ID": "other"}),
    "pair_similarity, id and upload": (
        "pair_similarity",
        {"A_ID": "other", "B_TITLE": "title", "B_PICTURE": "picture"},
    ),
    "product_search, id": ("product_search", {"ID": "id"}),
    "product_search, text": ("product_search", {"TEXT": "title"}),
}
