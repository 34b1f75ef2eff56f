"""What each part of the training recipe is worth, on real products never trained on, over several seeds.

    python benchmarks/finetune_ablations.py [--data DIR] [--folder DIR] [--seeds 3] [--steps 400] [--only …]

Trains a small CLIP (64 pixels) from nothing in pairs of arms that differ in one thing, each with the same
seeds, steps and pairs, through the product store, the pair selection and the trainer that `mmprod finetune`
uses. Prints for each arm the mean over seeds and the spread (standard deviation), and for each comparison the
difference paired by seed. Results are kept in FOLDER/results.json: runs already there are not done again.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's own folder out

from fashion.ablation import Catalogues, Judged, train

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "fashion"
MEASURES = ("P@10", "mAP", "R@1", "R@5", "R@10", "item image", "item text", "item 1:1", "item 7:3")


@dataclass(frozen=True)
class Arm:
    """One way to train: on which catalogue, and what differs from the plain recipe."""

    catalogue: str = "clean"
    options: dict[str, Any] = field(default_factory=dict)
    filtered: bool = False  # low-quality pairs are judged and left out
    identity: bool = True  # equal pictures and titles are never negatives
    colour: float = 0.0  # strength of random changes of brightness, contrast, saturation and hue
    same_item: bool = False
    base: str | None = None  # the arm whose result this one begins with


ARMS = {
    "plain": Arm(),
    "EMA soft labels": Arm(options={"loss": "soft", "alpha_steps": 200}),
    "EMA weights": Arm(options={"ema_decay": 0.99}),
    "no augmentation": Arm(options={"crop_scale": 1.0, "flip": 0.0}),
    "colour augmentation": Arm(colour=0.4),
    "rubbish, all of it": Arm("rubbish"),
    "rubbish, filtered": Arm("rubbish", filtered=True),
    "repeated titles, identity-blind": Arm("repeated", identity=False),
    "repeated titles, identity-aware": Arm("repeated"),
    "same item from nothing": Arm("items", same_item=True),
    "plain, then same item": Arm("items", {"lr": 3e-4}, same_item=True, base="plain"),
    "plain, then more of it": Arm(options={"lr": 3e-4}, base="plain"),
    "plain, then EMA soft labels": Arm(
        options={"lr": 3e-4, "loss": "soft", "alpha_steps": 100}, base="plain"
    ),
}
COMPARISONS = (
    ("EMA soft labels", "plain"),
    ("EMA weights", "plain"),
    ("plain", "no augmentation"),
    ("plain", "colour augmentation"),
    ("rubbish, filtered", "rubbish, all of it"),
    ("repeated titles, identity-aware", "repeated titles, identity-blind"),
    ("plain, then same item", "plain"),
    ("plain, then same item", "same item from nothing"),
    ("plain, then EMA soft labels", "plain, then more of it"),
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--folder", type=Path, help="where to work and keep results (default: temporary)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400, help="steps of 128 pairs")
    parser.add_argument("--only", nargs="*", choices=list(ARMS), default=list(ARMS))
    given = parser.parse_args()
    if not (given.data / "products.parquet").exists():
        print(f"skipped: {given.data / 'products.parquet'} is not there; name its folder with --data")
        return 0 if given.data == DATA else 2
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        catalogues = Catalogues(given.data, folder)
        results = folder / "results.json"
        found = json.loads(results.read_text()) if results.exists() else {}
        judged = Judged(folder)
        for seed in range(given.seeds):
            for name in given.only:
                key = f"{name}/{seed}/{given.steps}"
                if key not in found:
                    started = time.perf_counter()
                    model = train(catalogues, folder / "models", name, ARMS[name], seed, given.steps)
                    found[key] = judged(model) | {"seconds": time.perf_counter() - started}
                    results.write_text(json.dumps(found, indent=1))
                    print(f"{key:45}" + " ".join(f"{m} {found[key][m]:.3f}" for m in MEASURES), flush=True)
        tell(found, given.seeds, given.steps)
    return 0


def tell(found: dict[str, dict[str, float]], seeds: int, steps: int) -> None:
    """Print the means with their spread, and the paired differences."""
    runs = {name: [found.get(f"{name}/{seed}/{steps}") for seed in range(seeds)] for name in ARMS}
    whole = {name: [run for run in of if run] for name, of in runs.items() if all(of)}
    print(f"\n{'mean ± standard deviation, %':36}" + "".join(f"{m:>14}" for m in MEASURES))
    for name, of in whole.items():
        cells = (np.array([run[m] for run in of]) * 100 for m in MEASURES)
        print(f"{name:36}" + "".join(f"{c.mean():8.1f} ±{c.std(ddof=1):4.1f}" for c in cells))
    print(f"\n{'difference by seed, points':58}" + "".join(f"{m:>14}" for m in MEASURES))
    for name, other in COMPARISONS:
        if name in whole and other in whole:
            cells = (
                np.array([a[m] - b[m] for a, b in zip(whole[name], whole[other], strict=True)]) * 100
                for m in MEASURES
            )
            line = f"{name} − {other}"
            print(f"{line:58}" + "".join(f"{c.mean():+8.1f} ±{c.std(ddof=1):4.1f}" for c in cells))


if __name__ == "__main__":
    sys.exit(main())
