"""A shop of rendered products, surveys of it, and windows to look at their reports in."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page

from mmprod.config import Config
from mmprod.datasets.schemas import ANCHOR, CANDIDATE, JUDGEMENT, RECALL, category_path
from mmprod.datasets.store.store import Store
from mmprod.demo.catalogue import render_catalogue
from mmprod.eval.compare.alerts import Rule, alerts
from mmprod.eval.compare.history import HISTORY, history
from mmprod.eval.figures.metrics import figures
from mmprod.eval.judged import Judged
from mmprod.eval.reviewers.verdicts import decide
from mmprod.eval.survey.draw import draw_anchors, draw_pairs, take_candidates
from mmprod.eval.survey.frame import Facts, Frame
from mmprod.eval.survey.plan import plan
from mmprod.lake import Lake
from mmprod.report.lake import card
from mmprod.report.page import Card
from mmprod.report.page import Page as Report
from mmprod.report.review.evaluation import evaluation_page
from mmprod.sections import Review
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.review.evaluation import Evaluated, assess
from mmprod.stages.store import open_store

SYSTEMS = {"similar_item": 0.11, "titles_only": 0.17}  # and how far their scores are off
REVIEW = Review(
    profile="similar_item",
    level=1,
    anchors_per_category=16,
    rank_bands=((3, 3), (8, 2)),
    adjudicators=("Ana",),
    exchange={"Home": 0.4, "Garden": 1},
)
WEEKS = [datetime(2024, 3, day, 9, tzinfo=UTC) for day in (1, 8, 15, 22)]
PEOPLE = {"Ana": 0.02, "Bo": 0.04, "Li": 0.03, "Max": 0.3}  # and how often they err


@dataclasses.dataclass(frozen=True)
class Shop:
    """Rendered products in a store, and what type of thing each is."""

    store: Store
    types: dict[str, str]

    def same(self, a: str, b: str) -> bool:
        return self.types[a] == self.types[b]

    def card(self, product_id: str, note: str, mark: str) -> Card:
        return card(self.store, product_id, note, mark)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    render_catalogue(folder, items=120, workers=1)
    lake, config = Lake(folder / "lake"), Config()
    with open_store(lake, config, read_only=False) as store:
        ingest_table(lake, config, store, folder / "day1.parquet", date(2024, 1, 1))
    truth = pq.read_table(folder / "truth.parquet").to_pylist()
    with open_store(lake, config) as store:
        yield Shop(store, {row["product_id"]: row["type"] for row in truth})


def recall(shop: Shop, off: float, seed: int, k: int = 8) -> list[pa.RecordBatch]:
    """What a system finds whose scores are `off` (a standard deviation)."""
    names = [record.product_id for record in shop.store.iterate()]
    alike = np.array([[shop.same(a, b) for b in names] for a in names])
    scores = np.tanh(0.7 + 0.5 * alike + np.random.default_rng(seed).normal(0, 2 * off, alike.shape))
    np.fill_diagonal(scores, -np.inf)
    rows = [
        {"anchor_id": anchor, "product_id": names[j], "rank": rank, "score": scores[i, j]}
        for i, anchor in enumerate(names)
        for rank, j in enumerate(np.argsort(-scores[i])[:k], 1)
    ]
    return [pa.RecordBatch.from_pylist(rows, RECALL)]


def surveyed(shop: Shop, systems: dict[str, float], seed: int) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Anchors, candidates and pairs."""

    def facts(ids: Sequence[str]) -> list[Facts]:
        records = [shop.store.get(name) for name in ids]
        return [Facts(category_path(r.category), r.sales) for r in records if r]

    tables = {name: recall(shop, off, seed) for name, off in systems.items()}
    main = tables[REVIEW.profile]
    frame = Frame.of(main, facts, 0, REVIEW.level, REVIEW.sales_bands)
    anchors = draw_anchors(frame, plan(frame.strata, 5, None, REVIEW.anchors_per_category, {}), main)
    found = [take_candidates(name, batches, anchors, 8) for name, batches in tables.items()]
    candidates = pa.concat_tables(found)
    return anchors, candidates, draw_pairs(candidates, REVIEW.rank_bands, lambda ids: ["x"] * len(ids), 0)


def answers(pairs: pa.Table, same: Callable[[str, str], bool]) -> pa.Table:
    """Two or three people answer each pair, some of them twice; one in ten nobody answers."""
    random, rows = np.random.default_rng(5), []
    for pair in pairs.select(["pair_id", "anchor_id", "product_id"]).to_pylist():
        truth = same(pair["anchor_id"], pair["product_id"])
        for name in (
            random.choice(list(PEOPLE), random.choice([2, 3, 3]), replace=False)
            if random.random() > 0.1
            else ()
        ):
            said = [bool(truth ^ (random.random() < PEOPLE[name])) for _ in range(2)]
            row = {**pair, "reviewer": str(name), "judged_at": WEEKS[-1], "sheet": "sheet.csv"}
            rows.append({**row, "label": said[0], "repeat": False})
            if random.random() < 0.15:
                rows.append({**row, "label": said[1], "repeat": True})
    return pa.Table.from_pylist(rows, JUDGEMENT)


@pytest.fixture(scope="module")
def evaluated(shop: Shop) -> Evaluated:
    """Four weeks, the last of them whole."""
    anchors, candidates, pairs = surveyed(shop, SYSTEMS, 9)
    judgements = answers(pairs, shop.same)
    judged = Judged(anchors, candidates, pairs, decide(judgements, adjudicators=REVIEW.adjudicators).same)
    gold = {p["pair_id"]: shop.same(p["anchor_id"], p["product_id"]) for p in pairs.to_pylist()[::9]}
    found = assess(judged, judgements, gold, REVIEW, "similar_item")
    past = [(WEEKS[-1].isoformat(), found.tables["metrics"])]
    for week, off in zip(WEEKS, (0.08, 0.07, 0.05), strict=False):
        tables = surveyed(shop, {name: off + SYSTEMS[name] / 4 for name in SYSTEMS}, int(off * 100))
        truth = {p["pair_id"]: shop.same(p["anchor_id"], p["product_id"]) for p in tables[2].to_pylist()}
        past.append((week.isoformat(), figures(Judged(*tables, truth), REVIEW.all_measures)))
    fallen = alerts(
        past[-1][1], found.tables["metrics"], [Rule("precision", "all", None, "similar_item", 0.03)]
    )
    found = dataclasses.replace(found, alerts=[alert.text for alert in fallen])
    return Evaluated("similar_item", "g000004", WEEKS[-1].isoformat(), judged, found, history(past))


@pytest.fixture(scope="module")
def report(shop: Shop, evaluated: Evaluated) -> Report:
    return evaluation_page(evaluated, REVIEW, shop.card)


HOSTILE = (
    "<script>window.broken = 1</script>'\"><img src=http://example.com/x.png onerror=alert(1)> $a_{ 中文"
)


@pytest.fixture(scope="module")
def searched(shop: Shop) -> Evaluated:
    """Texts that were searched for, one of them and one of the systems hostile."""
    products = sorted(shop.types)
    asked = ["table lamp", HOSTILE, "watch"]
    anchors = [
        {
            "anchor_id": f"q{i}",
            "text": text,
            "category": HOSTILE if i else "Home",
            "band": "searches",
            "population": 10**9,
            "weight": 1.0,
        }
        for i, text in enumerate(asked)
    ]
    rows = [
        {
            "system": system,
            "anchor_id": f"q{i}",
            "product_id": products[(7 * i + 3 * k + number) % 60],
            "rank": k + 1,
            "score": 1 - k / 9,
        }
        for number, system in enumerate(("picture search", HOSTILE))
        for i in range(3)
        for k in range(8)
    ]
    candidates = pa.Table.from_pylist(rows, CANDIDATE)
    pairs = draw_pairs(candidates, ((8, 8),), lambda ids: ["x"] * len(ids), 0)
    said = [
        {
            **pair,
            "label": (n + who) % 3 > 0,
            "reviewer": (HOSTILE, "Bo")[who],
            "judged_at": WEEKS[0],
            "sheet": HOSTILE,
            "repeat": False,
        }
        for n, pair in enumerate(pairs.select(["pair_id", "anchor_id", "product_id"]).to_pylist())
        for who in range(2)
    ]
    judgements = pa.Table.from_pylist(said, JUDGEMENT)
    judged = Judged(pa.Table.from_pylist(anchors, ANCHOR), candidates, pairs, decide(judgements).same)
    found = dataclasses.replace(assess(judged, judgements, {}, REVIEW, HOSTILE), alerts=[HOSTILE])
    return Evaluated(HOSTILE, "g000001", WEEKS[0].isoformat(), judged, found, HISTORY.empty_table())


FIRST = REVIEW.model_copy(update={"wanted_precision": ()})


@pytest.fixture(scope="module")
def first(shop: Shop) -> Evaluated:
    """One system, one category, one nameless reviewer, all products taken, nothing before."""
    anchors, candidates, pairs = surveyed(shop, {"similar_item": 0.1}, 9)
    rows = [
        {**row, "category": "Home", "band": "any sales", "population": anchors.num_rows, "weight": 1.0}
        for row in anchors.to_pylist()
    ]
    truth = [{**p, "label": shop.same(p["anchor_id"], p["product_id"])} for p in pairs.to_pylist()]
    fixed = {"reviewer": "", "judged_at": WEEKS[0], "sheet": "", "repeat": False}
    said = pa.Table.from_pylist(
        [{name: ({**row, **fixed})[name] for name in JUDGEMENT.names} for row in truth], JUDGEMENT
    )
    judged = Judged(pa.Table.from_pylist(rows, ANCHOR), candidates, pairs, decide(said).same)
    found = assess(judged, said, {}, FIRST, "similar_item")
    return Evaluated("similar_item", "g000001", WEEKS[0].isoformat(), judged, found, HISTORY.empty_table())


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def window(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A window that notes what its page asks for and complains about."""
    width, height = request.param
    page = browser.new_page(viewport={"width": width, "height": height})
    page.asked, page.said = [], []  # type: ignore[attr-defined]
    page.on("request", lambda request: page.asked.append(request.url))  # type: ignore[attr-defined]
    page.on("console", lambda message: page.said.append(message.text))  # type: ignore[attr-defined]
    yield page
    page.close()


@pytest.fixture(scope="module")
def review() -> Review:
    """How the surveys were reviewed."""
    return REVIEW


@pytest.fixture(scope="module")
def hostile() -> str:
    """A name that would do harm as HTML, as a formula and as TeX."""
    return HOSTILE
