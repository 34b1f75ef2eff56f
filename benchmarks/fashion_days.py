"""Three days of real fashion products through the whole pipeline, and how well it then finds things.

    python benchmarks/fashion_days.py [--data DIR] [--folder DIR] [--steps 1300]

DIR holds products.parquet (columns sku, title, category_l1 to l3, gender, colour, season, usage, image).
Trains the small encoder on 40 % of the products, then uses only products it has never seen: runs three
daily tables through the `mmprod` command, each twice, and compares the counts with what was planted; a
second run must encode nothing and change no file. Then accuracy: texts against pictures and keywords, on
true and on stuffed titles; the same item listed twice; and an HTML report. Exit code 1 when a check fails.

In a folder that was used before, the trained encoder is used again and the rest is made anew.
"""

import argparse
import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mmprod.config import load
from mmprod.datasets.store.store import Store
from mmprod.eval.runs import Scores, same_items
from mmprod.lake import Lake
from mmprod.stages.daily.embed import open_embeddings
from mmprod.stages.encoder import load_encoder
from mmprod.stages.store import open_store
from mmprod.stages.training.compare import Query, compare_search, compare_weights, mean

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "fashion"
KINDS = ("added", "picture", "title", "fields", "removed", "relisted", "stale")
LOCKS = (".lock", "LOCK", "lock.mdb")  # hold the number of the process that wrote last
SHOWN = ("navy blue men shirts", "black women handbags", "white men sports shoes", "pink women tops")
FOUND, RANKED, PRECISION = "Success@1", "AP@10", "P@10"

Stage = dict[str, Any]


class Bench:
    """The folder all is made in, and the checks that failed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lake = folder, folder / "lake"
        self.problems: list[str] = []

    def mmprod(self, *words: object) -> Any:
        """What an `mmprod` command prints with --json."""
        command = [str(Path(sys.executable).with_name("mmprod")), *map(str, words)]
        command += ["--config", str(self.folder / "mmprod.toml"), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed: {done.stdout}")
        return json.loads(done.stdout)

    def expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.problems.append(f"{what}: {found}, want {wanted}")
            print(f"  FAILED {self.problems[-1]}")

    def contents(self) -> dict[str, str]:
        """Every file of the lake by its content, but locks and the records of runs."""
        files = (p for p in self.lake.rglob("*") if p.is_file() and p.name not in LOCKS)
        kept = [p for p in files if p.parent != self.lake / "runs"]
        return {str(p.relative_to(self.lake)): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--steps", type=int, default=1300, help="training steps of 256 pairs")
    given = parser.parse_args()
    if not (given.data / "products.parquet").exists():
        print(f"skipped: {given.data / 'products.parquet'} is not there; name its folder with --data")
        return 0 if given.data == DATA else 2
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(folder.resolve())
        prepare(bench, given.data, given.steps)
        searches = three_days(bench)
        bench.expect("problems found by verify", bench.mmprod("verify")["problems"], [])
        weightings = same_item(bench)
        report(bench)
        tell(bench, searches, weightings)
    return 1 if bench.problems else 0


def prepare(bench: Bench, data: Path, steps: int) -> None:
    """Write the tables and train the encoder."""
    script = Path(__file__).with_name("fashion") / "tables.py"
    subprocess.run([sys.executable, script, "--data", data, "--folder", bench.folder], check=True)
    for part in bench.lake.glob("[!.]*"):
        if part.name != "encoders":
            shutil.rmtree(part)
    table, plan = bench.folder / "train.parquet", ("--steps", steps, "--batch-size", 256, "--lr", 1e-3)
    show(f"training, {steps} steps of 256", bench.mmprod("train", "--table", table, *plan)["stages"])


def three_days(bench: Bench) -> dict[str, float]:
    """Run each day twice, with checks; after the first, before others list the same items: P@10."""
    searches = {}
    for number, planted in enumerate(json.loads((bench.folder / "planted.json").read_text())):
        words = ("run", "--day", planted["day"], "--table", bench.folder / planted["file"])
        stages = bench.mmprod(*words)["stages"]
        show(f"day {planted['day']}", stages)
        check_counts(bench, stages[0], planted)
        before, started = bench.contents(), time.perf_counter()
        again = {stage["stage"]: stage for stage in bench.mmprod(*words)["stages"]}
        seconds = time.perf_counter() - started
        print(f"  again: {seconds:.1f} s with starting, {again['embed']['changed']} encoded")
        bench.expect("encoded by a second run", again["embed"]["changed"], 0)
        after = bench.contents()
        differing = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
        bench.expect("files changed by a second run", differing, [])
        if number == 0:
            searches = {**search_accuracy(bench, bench.lake, "true titles"), **stuffed(bench, planted["day"])}
    return searches


def check_counts(bench: Bench, ingest: Stage, planted: dict[str, Any]) -> None:
    """Every row is accounted for, and each kind of change is as often as it was planted."""
    for kind in KINDS:
        bench.expect(f"{planted['day']} {kind}", ingest["detail"][kind], planted[kind])
    bench.expect(f"{planted['day']} unchanged", ingest["reused"], planted["unchanged"])
    counts = ingest["detail"]
    listed = sum(counts[kind] for kind in KINDS if kind != "removed")
    bench.expect("rows", ingest["rows"], planted["rows"])
    bench.expect("rows accounted for", listed + ingest["reused"] + ingest["refused"], ingest["rows"])


def stuffed(bench: Bench, day: str) -> dict[str, float]:
    """P@10 once 30 % of the titles are stuffed: a partial day on a copy of the lake."""
    copy = bench.folder / "lake-stuffed"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(bench.lake, copy)
    table = bench.folder / "stuffed.parquet"
    stages = bench.mmprod("run", "--day", day, "--table", table, "--snapshot", "partial", "--lake", copy)
    bench.expect("pictures encoded for new titles", stages["stages"][1]["detail"].get("pictures", 0), 0)
    return search_accuracy(bench, copy, "30 % of titles stuffed")


def search_accuracy(bench: Bench, root: Path, heading: str) -> dict[str, float]:
    """P@10 by heading of picture and keyword search, for texts as categories and as titles put them."""
    lake, config = Lake(root), load(bench.folder / "mmprod.toml").config
    table, found = pq.read_table(bench.folder / "queries.parquet"), {}
    encoder = load_encoder(lake, config)
    with open_store(lake, config) as store:
        for form, column in (("as categories are called", "query"), ("in the titles' words", "spoken")):
            asked = zip(table[column].to_pylist(), table["relevant"].to_pylist(), strict=True)
            queries = [Query(text, frozenset(skus)) for text, skus in asked]
            for search, scores in compare_search(lake, store, encoder, queries).items():
                found[f"{heading}, {len(queries)} texts {form}: {search}"] = mean(scores, PRECISION)
    return found


def same_item(bench: Bench) -> dict[str, dict[str, float]]:
    """For each weighting recall@1 and mAP@10 at finding the other listing of an item, and recall@1 of the
    second listings by what was done to their titles."""
    lake, config = Lake(bench.lake), load(bench.folder / "mmprod.toml").config
    table = pq.read_table(bench.folder / "truth.parquet")
    items = dict(zip(table["product_id"].to_pylist(), table["item"].to_pylist(), strict=True))
    with open_store(lake, config) as store:
        embeddings = open_embeddings(lake, config, load_encoder(lake, config))
        found = compare_weights(embeddings, store, same_items(items), (FOUND, RANKED))
        ways = {copy: wording(store, copy, item) for copy, item in items.items() if copy != item}
    return {
        name: {"recall@1": mean(scores, FOUND), "mAP@10": mean(scores, RANKED), **by_wording(scores, ways)}
        for name, scores in found.items()
    }


def wording(store: Store, copy: str, item: str) -> str:
    """What was done to the title of an item's second listing."""
    new, old = (record.title if record else "" for record in store.get_many([copy, item]))
    return "stuffed" if new.startswith(old) else "cut" if old.startswith(new) else "reworded"


def by_wording(scores: Scores, ways: dict[str, str]) -> dict[str, float]:
    groups: dict[str, list[float]] = {"reworded": [], "cut": [], "stuffed": []}
    for query, value in zip(scores.queries, scores.values[FOUND], strict=True):
        if query in ways:
            groups[ways[query]].append(float(value))
    return {way: sum(values) / len(values) for way, values in groups.items()}


def report(bench: Bench) -> None:
    """A page with searches, and with the neighbours of some items that are listed twice."""
    ids = pq.read_table(bench.folder / "truth.parquet")["product_id"].to_pylist()
    anchors = [name for name in ids if name.startswith("R")][:6]
    words = [word for text in SHOWN for word in ("--query", text)]
    words += [word for name in anchors for word in ("--anchor", name)]
    bench.mmprod("report", *words, "--out", bench.folder / "report.html")


def show(heading: str, stages: list[Stage]) -> None:
    """Stages as a table."""
    print(f"\n{heading:28}{'rows':>8}{'changed':>9}{'reused':>8}{'refused':>8}{'seconds':>9}{'rows/s':>9}")
    for stage in stages:
        numbers = [f"{stage[key]:,}" for key in ("rows", "changed", "reused", "refused")]
        line = f"  {stage['stage']:26}{numbers[0]:>8}{numbers[1]:>9}{numbers[2]:>8}{numbers[3]:>8}"
        print(f"{line}{stage['seconds']:>9.2f}{stage['rate']:>9,.0f}{detail(stage)}")


def detail(stage: Stage) -> str:
    counts = stage["detail"].items() if stage["stage"] in ("ingest", "embed") else ()
    return "  " + ", ".join(f"{name} {count:,}" for name, count in counts if count)


def tell(bench: Bench, searches: dict[str, float], weightings: dict[str, dict[str, float]]) -> None:
    """Print the accuracy and how the checks ended; keep the figures beside the report."""
    print("\nP@10 on products never trained on")
    for name, value in searches.items():
        print(f"  {name:75}{value:7.1%}")
    columns = next(iter(weightings.values()))
    print("\nsame item listed twice  " + "".join(f"{column:>10}" for column in columns))
    for name, values in weightings.items():
        print(f"  {name:22}" + "".join(f"{value:10.1%}" for value in values.values()))
    figures = {"P@10": searches, "same item": weightings, "problems": bench.problems}
    (bench.folder / "figures.json").write_text(json.dumps(figures, indent=1))
    print(f"\nreport: {bench.folder / 'report.html'}")
    print("\n".join(f"FAILED {problem}" for problem in bench.problems) or "every check passed")


if __name__ == "__main__":
    sys.exit(main())
