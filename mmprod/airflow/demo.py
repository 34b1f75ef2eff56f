"""A demo for the DAGs: a rendered catalogue with a table for each day, and an encoder."""

import json
import shutil
import subprocess
from pathlib import Path

_CONFIG = """# The demo's encoder is trained for seconds only, so the index gate lets alike vectors pass.
lake = "lake"
[store]
shards = 2
[index]
max_similarity = 1.0
[review]
level = 1
anchors_per_category = 4
reviewers = ["anna"]
stable_seconds = 1.0
[export]
samples = 64
[finetune]
batch_size = 32
"""


def make(folder: Path, command: Path, products: int = 200) -> dict[str, str]:
    """Create the parts of the demo that are missing in `folder`; returns the Airflow variable's content."""
    folder = folder.resolve()
    catalogue, lake, config = folder / "catalogue", folder / "lake", folder / "mmprod.toml"
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    config.write_text(_CONFIG)
    if not (catalogue / "planted.json").exists():
        _run([str(command), "sample-catalog", str(catalogue), "--products", str(products), "--json"])
    if not (lake / "encoders" / "tiny" / "CURRENT").exists():
        table = str(catalogue / "train.parquet")
        steps = ["--steps", "20", "--batch-size", "64"]
        _run([str(command), "train", "--table", table, *steps, "--config", str(config), "--json"])
    return {
        "command": str(command.absolute()),
        "config": str(config),
        "lake": str(lake),
        "tables": str(folder / "tables" / "{day}.parquet"),
        "backups": str(folder / "backups"),
        "texts": str(catalogue / "texts.txt"),
        "lists": str(folder / "lists"),
    }


def days(folder: Path) -> list[str]:
    """The days of the demo's catalogue, in order."""
    return [day["day"] for day in _planted(folder)]


def deliver(folder: Path, day: str) -> Path:
    """Deliver the product table of a day, by renaming, to where the DAGs wait for it."""
    file = next(planted["file"] for planted in _planted(folder) if planted["day"] == day)
    target = folder / "tables" / f"{day}.parquet"
    aside = target.with_name(f".{target.name}")
    shutil.copyfile(folder / "catalogue" / file, aside)
    return aside.replace(target)


def _planted(folder: Path) -> list[dict[str, str]]:
    planted: list[dict[str, str]] = json.loads((folder / "catalogue" / "planted.json").read_text())
    return planted


def _run(line: list[str]) -> None:
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
