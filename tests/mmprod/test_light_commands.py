"""Commands that only read, and those with nothing left to do, load these heavy libraries and no others."""

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmprod.demo.reviewer import SimulatedReviewer
from mmprod.stages.review.judgements import collect
from mmprod.stages.review.survey import sample
from mmprod.stages.store import open_store
from mmprod.stages.training.export import export_engine

HEAVY = (
    *("torch", "torchvision", "open_clip", "transformers", "timm", "safetensors", "huggingface_hub"),
    *("onnxruntime", "openvino", "faiss", "lance", "pandas", "pyarrow", "numpy", "scipy", "sklearn"),
    *("statsmodels", "matplotlib", "bm25s", "httpx", "jinja2", "openpyxl"),
)
ASKED = "numpy pyarrow faiss onnxruntime"
TABLE = "numpy pyarrow pandas lance"  # of vectors; Lance imports pandas
REVIEW = "numpy pyarrow pandas jinja2"  # pyarrow imports pandas where it filters, sorts and groups
LOADED = {
    "--help": "",
    "config show": "",
    "triton status": "",
    "triton render models": "",
    "airflow dags": "",
    "config recipes": "",
    "deploy shop": "",
    "store stats": "numpy pyarrow",
    "store get {a}": "numpy pyarrow",
    "store verify": "numpy pyarrow",
    "search 'red striped mug'": ASKED,
    "search 红色马克杯 --category Kitchen": ASKED,
    "search --product {a}": "numpy pyarrow faiss",
    "search 'red mug' --out found.csv": f"{ASKED} pandas",
    "similarity {a} {b}": "numpy pyarrow onnxruntime",
    "searches run texts.txt": f"{ASKED} pandas jinja2",
    "report --query 'red mug' --anchor {a} --out report.html": f"{ASKED} pandas jinja2",
    "status": TABLE,
    "verify": TABLE,
    "review plan": REVIEW,
    "review collect": "numpy pyarrow",
    "review conflicts": REVIEW,
    "review reviewers": "numpy pyarrow pandas scipy statsmodels",
    "review weights": f"{REVIEW} scipy",
    "review sample": "numpy pyarrow jinja2",
    "review sample --searches texts.txt": f"{ASKED} pandas jinja2 scipy bm25s openpyxl",
    "evaluate survey": f"{REVIEW} scipy statsmodels matplotlib",
    "index promote": "numpy pyarrow",
    "recall build": "numpy pyarrow",
    "groups build": "numpy pyarrow",
    "features build": "numpy pyarrow",
    "index build": TABLE,
    "embed": TABLE,
    "run --day {day} --table {table}": f"{TABLE} httpx",
}
LOOK = """
import sys
from mmprod.cli.app import main
sys.argv = ["mmprod", *{words}]
try:
    main()
finally:
    print("loaded", *(name for name in {heavy} if name in sys.modules), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def settled(grown) -> Any:
    """A lake with an engine and reviewers' answers, and nothing left to do."""
    settings = grown.folder / "mmprod.toml"
    settings.write_text(settings.read_text().replace("anchors_per_category = 4", "anchors_per_category = 20"))
    lake, config = grown.lake, grown.config
    export_engine(lake, config, "onnx", "fp32", ("image", "text"))
    (grown.folder / "texts.txt").write_text("red mug\nblack lamp\n")
    truth = pq.read_table(grown.folder / "catalogue" / "truth.parquet")
    item = dict(zip(truth["product_id"].to_pylist(), truth["item_id"].to_pylist(), strict=True))
    with open_store(lake, config) as store:
        sheet = Path(sample(lake, config, store).detail["sheet"])
        for reviewer in (SimulatedReviewer("anna"), SimulatedReviewer("ben", 0.3)):
            filled = grown.folder / f"{reviewer.name}.csv"
            reviewer.fill_in(sheet, filled, lambda a, b: item[a] == item[b])
            collect(lake, config, store, filled)
    return grown


@pytest.fixture(scope="module")
def loaded(settled, forking: Callable[..., Any]) -> Iterator[Callable[[str], set[str]]]:
    """What of HEAVY a command loads in a process of its own, which has imported the command line alone."""
    table, day = settled.days[0]
    with open_store(settled.lake, settled.config) as store:
        a, b = sorted(store.live_ids())[:2]
    with forking(Path(sys.executable), "import mmprod.cli.app", settled.folder) as fresh:

        def look(command: str) -> set[str]:
            words = shlex.split(command.format(a=a, b=b, day=day, table=table))
            done = fresh.python(LOOK.format(words=words, heavy=HEAVY), settled.folder)
            assert done.status == 0, done.err
            *_, last = (line for line in done.err.splitlines() if line.startswith("loaded"))
            return set(last.split()[1:])

        look("groups build"), look("features build")
        yield look


@pytest.mark.slow
@pytest.mark.parametrize("command", LOADED)
def test_a_command_loads_only_what_it_needs(loaded: Callable[[str], set[str]], command: str) -> None:
    assert loaded(command) == set(LOADED[command].split())
