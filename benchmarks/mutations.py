"""Damaged tables, pictures and label files by the thousand: taken rightly, refused, or lost and wrong.

    python benchmarks/mutations.py [--variants 10000] [--seed 0]

Each is a good file with one to three accidents (bytes flipped, cut, doubled, scraps put in between, lines
exchanged, delimiters lost), made by a seed of its own. What the damage spared must be read as it was, or the
file is refused; two fifths are tables, two fifths pictures, one fifth label files. Exits with 1, and the
seeds, where anything is lost or wrong.
"""

import argparse
import logging
import random
import resource
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

from load.tables import show
from mutate import labels, pictures, tables
from rich.progress import track


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    wrong: list[str] = []
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = {
            "tables": (partial(tables.outcome, folder=folder), 2),
            "pictures": (pictures.outcome, 2),
            "label files": (partial(labels.outcome, folder=folder, asked=labels.questions()), 1),
        }
        for kind, (outcome, share) in kinds.items():
            counts: Counter[str] = Counter()
            for seed in track(range(given.variants * share // 5), kind):
                found = outcome(random.Random(f"{given.seed} {kind} {seed}"))
                counts[found.partition(":")[0]] += 1
                if found.startswith("wrong"):
                    wrong.append(f"{kind}, seed {seed}: {found[:2000]}")
            rows.append((kind, counts.total(), counts["taken"], counts["refused"], counts["wrong"]))
    show(("files", "variants", "taken rightly", "refused", "lost or wrong"), rows)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
    if wrong:
        raise SystemExit("\n".join(wrong[:20]))


if __name__ == "__main__":
    main()
