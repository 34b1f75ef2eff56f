"""Three weekly rounds of the review loop on real fashion products, by `mmprod` commands alone.

    python benchmarks/review_rounds.py [--data DIR] [--folder DIR] [--steps 100 300]

DIR holds products.parquet (see benchmarks/fashion/tables.py). Reviewers are simulated: careful, average,
one who skips, a lazy one who always says "different", and an adjudicator; what they are asked is whether two
products are of one type, colour and gender. Week 1 samples an early encoder's neighbours; week 2 those of a
better one, pooled with the first; week 3 those of the second day's catalogue. Checked, with exit code 1 when
a check fails: only new pairs are asked; every row of every file is accounted for; the lazy reviewer is found
out, then excluded; the intervals of the estimates hold the truth over the catalogue in most categories, and
that of the comparison the true difference of the two encoders.
"""

import argparse
import contextlib
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mmprod.demo.reviewer import SimulatedReviewer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "fashion"
PROFILE, DEPTH = "similar_item", 5
REVIEWERS = (
    SimulatedReviewer("anna", 0.02, seed=1),
    SimulatedReviewer("ben", 0.06, seed=2),
    SimulatedReviewer("chen", 0.04, skips=0.1, seed=3),
    SimulatedReviewer("lazy", lazy=True, seed=4),
)
ADJUDICATOR = SimulatedReviewer("dora", 0.0, seed=5)
CONFIG = f"""
[review]
profile = "{PROFILE}"
level = 2
anchors_per_category = 40
rank_bands = [[3, 3], [{DEPTH}, 1]]
reviewers = ["anna", "ben", "chen", "lazy"]
adjudicators = ["dora"]
overlap = 0.5
gold_share = 0.1
sheets = ["csv", "html"]
stable_seconds = 0
"""


class Rounds:
    """The folder all is made in, the truth, and the checks that failed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lake = folder, folder / "lake"
        self.problems: list[str] = []
        self.answered: set[str] = set()  # pairs, by those who aren't lazy
        rows = [row for day in (1, 2) for row in pq.read_table(folder / f"day{day}.parquet").to_pylist()]
        self.kind = {row["sku"]: (row["category_l3"], row["colour"], row["gender"]) for row in rows}

    def alike(self, anchor: str, product: str) -> bool:
        return self.kind[anchor] == self.kind[product]

    def mmprod(self, *words: object) -> Any:
        """What an `mmprod` command prints with --json."""
        command = [str(Path(sys.executable).with_name("mmprod")), *map(str, words)]
        command += ["--config", str(self.folder / "mmprod.toml"), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed: {done.stdout}")
        return json.loads(done.stdout)

    def current(self) -> str:
        """The recall table's generation."""
        status = self.mmprod("status")["status"]
        return next(str(row["current"]) for row in status if row["what"] == f"recall/{PROFILE}")

    def configure(self, line: str) -> None:
        """Add a line to the end of the configuration, once."""
        path = self.folder / "mmprod.toml"
        if line not in path.read_text():
            path.write_text(f"{path.read_text()}{line}\n")

    def expect(self, what: str, holds: bool, seen: object = "") -> None:
        print(f"  {'ok' if holds else 'FAILED':7}{what} {seen}")
        if not holds:
            self.problems.append(what)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--steps", type=int, nargs=2, default=(100, 300), help="of the two encoders")
    given = parser.parse_args()
    if not (given.data / "products.parquet").exists():
        print(f"skipped: {given.data / 'products.parquet'} is not there; name its folder with --data")
        return 0 if given.data == DATA else 2
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        script = Path(__file__).with_name("fashion") / "tables.py"
        subprocess.run([sys.executable, script, "--data", given.data, "--folder", folder], check=True)
        configuration = folder / "mmprod.toml"
        configuration.write_text(configuration.read_text() + CONFIG)
        rounds = Rounds(folder.resolve())
        three_weeks(rounds, *given.steps)
    print("\n".join(f"FAILED {problem}" for problem in rounds.problems) or "every check passed")
    return 1 if rounds.problems else 0


def three_weeks(rounds: Rounds, early: int, later: int) -> None:
    build(rounds, 0, early)
    week(rounds, 1)
    first, before = f"{PROFILE}@{rounds.current()}", true_precision(rounds)
    build(rounds, 0, later)
    week(rounds, 2, "--also", first)
    compared = rounds.mmprod("review", "compare", first, PROFILE)["differences"]
    gain = next(row for row in compared if (row["facet"], row["measure"]) == ("all", "precision"))
    true = true_precision(rounds)["all"] - before["all"]
    held = gain["low"] <= true <= gain["high"]
    rounds.expect("the comparison's interval holds the true difference", held, f"{brief(gain)}, {true:+.1%}")
    build(rounds, 1, None)
    week(rounds, 3)
    fitted = rounds.mmprod("review", "weights")["weights"]
    print("  weights:", json.dumps(fitted[0], default=str))


def build(rounds: Rounds, number: int, steps: int | None) -> None:
    """Train an encoder if `steps` are given, and bring the lake to a day."""
    if steps:
        table = rounds.folder / "train.parquet"
        rounds.mmprod("train", "--table", table, "--steps", steps, "--batch-size", 256)
    planted = json.loads((rounds.folder / "planted.json").read_text())[number]
    rounds.mmprod("run", "--day", planted["day"], "--table", rounds.folder / planted["file"])


def week(rounds: Rounds, number: int, *also: str) -> None:
    """A round: sample, label, collect, adjudicate, evaluate."""
    print(f"\nweek {number}")
    sampled = rounds.mmprod("review", "sample", *also)["stages"][0]["detail"]
    before = set(rounds.answered)
    asked = fill_in(rounds, sampled["sheets"])
    share = f"{len(asked)} of {sampled['pairs']}"
    rounds.expect("asked is only what nobody reliable has answered", not asked & before, share)
    collected = rounds.mmprod("review", "collect")["stages"]
    for file in collected:
        counts = file["detail"]
        kinds = ("accepted", "rejected", "unanswered", "duplicates", "blank")
        told = sum(counts[kind] for kind in kinds)
        rounds.expect(f"{file['stage']} balances", told == counts["rows"], counts["rows"])
    adjudicate(rounds)
    show(rounds, rounds.mmprod("evaluate", "survey"))


def fill_in(rounds: Rounds, sheets: list[str]) -> set[str]:
    """Every reviewer answers their sheet into the inbox; the pairs asked, but for those asked to watch."""
    inbox = rounds.lake / "reviews" / "inbox"
    inbox.mkdir(parents=True, exist_ok=True)
    questions = pq.read_table(Path(sheets[0]).parent / "questions.parquet").to_pylist()
    pair_of = {row["question_id"]: row["pair_id"] for row in questions if row["role"] != "repeat"}
    for reviewer in REVIEWERS:
        sheet = next(Path(name) for name in sheets if name.endswith(f"sheet-{reviewer.name}.csv"))
        reviewer.fill_in(sheet, inbox / sheet.name, rounds.alike)
        if not reviewer.lazy:
            rows = csv.DictReader((inbox / sheet.name).read_text("utf-8-sig").splitlines())
            names = {row["pair_id"] for row in rows if row["label"]}
            rounds.answered |= {pair_of[name] for name in names & pair_of.keys()}
    return {row["pair_id"] for row in questions if row["role"] == "asked"}


def adjudicate(rounds: Rounds) -> None:
    """What reviewers disagree on goes to somebody who looks closely."""
    sheet = rounds.folder / "conflicts.csv"
    if rounds.mmprod("review", "conflicts", "--out", sheet)["pairs"]:
        ADJUDICATOR.fill_in(sheet, rounds.lake / "reviews" / "inbox" / "conflicts-dora.csv", rounds.alike)
        rounds.mmprod("review", "collect")
    found = rounds.mmprod("review", "reviewers")
    careless = [row["reviewer"] for row in found["reviewers"] if row["note"]]
    found_out = "lazy" in careless and "anna" not in careless
    rounds.expect("the lazy reviewer is found out, the careful one isn't", found_out, careless)
    rounds.configure(f'excluded = ["{REVIEWERS[-1].name}"]')
    print("  agreement:", {k: v if v is None else round(v, 3) for k, v in found["agreement"].items()})


def show(rounds: Rounds, evaluated: dict[str, Any]) -> None:
    """The estimates beside the truth over all neighbours of all anchors."""
    truth = true_precision(rounds)
    inside = []
    for row in evaluated["metrics"]:
        if (row["system"], row["measure"], row["variant"]) != (PROFILE, "precision", "pooled"):
            continue
        if row["facet"] in ("all", "category") and row["scope"] in truth:
            inside.append(row["low"] <= truth[row["scope"]] <= row["high"])
            if row["facet"] == "all":
                print(f"  precision {brief(row)}, over the whole catalogue {truth['all']:.1%}")
    share = f"{sum(inside)}/{len(inside)}"
    rounds.expect("most intervals hold the truth", sum(inside) >= 0.8 * len(inside), share)
    print(f"  alerts: {evaluated['alerts'] or 'none'}; report: {evaluated['report']}")


def true_precision(rounds: Rounds) -> dict[str, float]:
    """The share of alike products among the first DEPTH neighbours of every product, by category."""
    root = rounds.lake / "recall" / PROFILE
    current = (root / "CURRENT").read_text().split()[0]
    rows = pq.read_table(root / current / "recall.parquet").to_pylist()
    right: dict[str, list[bool]] = {"all": []}
    categories = category_of(rounds)
    for row in rows:
        if row["rank"] <= DEPTH:
            alike = rounds.alike(row["anchor_id"], row["product_id"])
            right["all"].append(alike)
            right.setdefault(categories(row["anchor_id"]), []).append(alike)
    return {name: sum(found) / len(found) for name, found in right.items()}


def category_of(rounds: Rounds) -> Callable[[str], str]:
    rows = [row for day in (1, 2) for row in pq.read_table(rounds.folder / f"day{day}.parquet").to_pylist()]
    paths = {row["sku"]: f"{row['category_l1']} > {row['category_l2']}" for row in rows}
    return paths.__getitem__


def brief(row: dict[str, Any]) -> str:
    value = row.get("difference", row.get("value"))
    return f"{value:+.1%} [{row['low']:.1%}, {row['high']:.1%}]"


if __name__ == "__main__":
    sys.exit(main())
