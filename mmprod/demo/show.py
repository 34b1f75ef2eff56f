"""The demo: runs a rendered marketplace through the whole pipeline, with figures and a report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa

from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.store.store import Store
from mmprod.demo.catalogue import render_catalogue
from mmprod.demo.queries import relevant_products
from mmprod.demo.reviewer import SimulatedReviewer
from mmprod.encoders.clip import Encoder
from mmprod.encoders.train import Plan
from mmprod.eval.runs import Scores, same_items
from mmprod.lake import Lake
from mmprod.report.lake import Shown, lake_page, stage_table
from mmprod.report.page import Figure, Page, Part, Table, save
from mmprod.report.review.evaluations import write_reports
from mmprod.sections import Config
from mmprod.stages.daily.embed import open_embeddings
from mmprod.stages.daily.run import run_day
from mmprod.stages.encoder import load_encoder
from mmprod.stages.online.release import make_release
from mmprod.stages.outcome import Outcome, Progress, timed
from mmprod.stages.review.conflicts import write_conflicts
from mmprod.stages.review.evaluation import evaluate
from mmprod.stages.review.judgements import collect
from mmprod.stages.review.survey import read_survey, sample
from mmprod.stages.store import open_store
from mmprod.stages.training.compare import Query, best_possible, compare_search, compare_weights, mean
from mmprod.stages.training.export import export_engine
from mmprod.stages.training.train import train_encoder
from mmprod.storage import parquet

FOUND, RECALLED, RANKED, PRECISION = "Success@1", "R@10", "AP@10", "P@10"
REVIEWERS = (
    SimulatedReviewer("anna", 0.02),
    SimulatedReviewer("ben", 0.05, skips=0.02),
    SimulatedReviewer("chen", 0.25),  # careless: the report says so
)
ADJUDICATOR = SimulatedReviewer("dora", 0.0)  # decides contested pairs


@dataclass(frozen=True)
class Demonstration:
    """The demo's results: stages by heading, and scores against the catalogue's planted truth."""

    stages: Mapping[str, list[Outcome]]
    weightings: Mapping[str, Scores]  # other listings of the same item: FOUND, RECALLED, RANKED
    searches: Mapping[str, Scores]  # picture search and keyword search, PRECISION
    ceiling: float  # PRECISION of a perfect ranking
    report: Path
    evaluation: Path  # the report of the reviewers' evaluation

    def weighting_rows(self) -> list[tuple[str, float, float, float]]:
        """(weighting, share found first, recall@10, mAP@10)"""
        measures = (FOUND, RECALLED, RANKED)
        return [(name, *(mean(s, measure) for measure in measures)) for name, s in self.weightings.items()]  # type: ignore[misc]

    def search_rows(self) -> list[tuple[str, float]]:
        """(kind of search, P@10)"""
        found = [(name, mean(s, PRECISION)) for name, s in self.searches.items()]
        return [*found, ("best possible", self.ceiling)]


def demonstrate(folder: Path, config: Config, items: int, plan: Plan, progress: Progress) -> Demonstration:
    """Render, train, run three days, review, evaluate, report; everything below `folder`.

    Run again, it reuses what exists. The caller holds the lake's lock.
    """
    lake, catalogue = Lake(config.lake), folder / "catalogue"
    config = _reviewed(config)
    stages = {
        "before the first day": [_render(catalogue, items), _train(lake, config, catalogue, plan, progress)]
    }
    for day in json.loads((catalogue / "planted.json").read_text()):
        stages[day["day"]] = run_day(
            lake, config, catalogue / day["file"], date.fromisoformat(day["day"]), progress=progress
        )
    truth = parquet.read(catalogue / "truth.parquet")
    encoder = load_encoder(lake, config)
    with open_store(lake, config) as store:
        stages["review"] = _review(lake, config, store, truth, folder)
        table = open_embeddings(lake, config, encoder)
        weightings = _weightings(table, store, truth)
        queries = _queries(catalogue, truth, store)
        searches = compare_search(lake, store, encoder, queries)
        ceiling = best_possible(queries)
        evaluation = write_reports(lake, config, store, config.review.profile)
        report = folder / "report.html"
        shown = Demonstration(stages, weightings, searches, ceiling, report, evaluation)
        save(_page(shown, lake, config, store, encoder, queries), shown.report)
    stages["online service"] = _serve(lake, config)
    return shown


def _reviewed(config: Config) -> Config:
    """The configuration with the simulated reviewers and an adjudicator."""
    names = {"reviewers": tuple(one.name for one in REVIEWERS), "adjudicators": (ADJUDICATOR.name,)}
    return config.model_copy(update={"review": config.review.model_copy(update=names)})


def _render(catalogue: Path, items: int) -> Outcome:
    with timed("render catalogue") as outcome:
        if (catalogue / "planted.json").exists():
            outcome.reused = outcome.rows = items
        else:
            render_catalogue(catalogue, items)
            outcome.changed = outcome.rows = items
    return outcome


def _train(lake: Lake, config: Config, catalogue: Path, plan: Plan, progress: Progress) -> Outcome:
    return train_encoder(lake, config, catalogue / "train.parquet", plan, progress)


def _serve(lake: Lake, config: Config) -> list[Outcome]:
    """Build what `mmprod triton start` needs: the exported engine, and a release."""
    return [export_engine(lake, config, "onnx", "fp32", ("image", "text")), make_release(lake, config)]


def _review(lake: Lake, config: Config, store: Store, truth: pa.Table, folder: Path) -> list[Outcome]:
    """Sample pairs, let simulated reviewers answer, let the adjudicator decide contested ones, evaluate."""
    ids, items = (truth[name].to_pylist() for name in ("product_id", "item_id"))
    item_of = dict(zip(ids, items, strict=True))
    outcomes = [sample(lake, config, store)]

    def answer(reviewer: SimulatedReviewer, sheet: Path) -> None:
        filled = folder / f"{reviewer.name}.csv"
        reviewer.fill_in(sheet, filled, lambda a, b: item_of[a] == item_of[b])
        outcomes.append(collect(lake, config, store, filled))

    for reviewer in REVIEWERS:
        answer(reviewer, Path(outcomes[0].detail["sheet"]).with_name(f"sheet-{reviewer.name}.csv"))
    conflicts = folder / "conflicts.csv"
    if write_conflicts(lake, config, store, None, conflicts):
        answer(ADJUDICATOR, conflicts)
    return [*outcomes, evaluate(lake, config, config.review.profile)]


def _weightings(table: EmbeddingTable, store: Store, truth: pa.Table) -> dict[str, Scores]:
    live = set(store.live_ids())
    ids, items = truth["product_id"].to_pylist(), truth["item_id"].to_pylist()
    listed = {name: item for name, item in zip(ids, items, strict=True) if name in live}
    return compare_weights(table, store, same_items(listed), (FOUND, RECALLED, RANKED))


def _queries(catalogue: Path, truth: pa.Table, store: Store) -> list[Query]:
    table, live = parquet.read(catalogue / "queries.parquet"), set(store.live_ids())
    relevant = relevant_products(table, truth)
    return [Query(q, frozenset(r & live)) for q, r in zip(table["query"].to_pylist(), relevant, strict=True)]


def _page(
    shown: Demonstration, lake: Lake, config: Config, store: Store, encoder: Encoder, queries: Sequence[Query]
) -> Page:
    relevant = {query.text: query.relevant for query in queries[:10]}
    survey = read_survey(lake, config.review.profile)
    anchors = survey.anchors.sort_by([("weight", "descending"), ("anchor_id", "ascending")])
    names = list(dict.fromkeys(anchors["anchor_id"].to_pylist()))[:30:5]
    page = lake_page(lake, config, store, encoder, Shown(list(relevant), names, relevant))
    found, precision = {name: first for name, first, *_ in shown.weighting_rows()}, dict(shown.search_rows())
    facts = [
        *page.facts,
        ("same item found first (1:1)", f"{found['1:1']:.1%}"),
        ("picture search P@10", f"{precision['picture search']:.1%}"),
        ("keyword search P@10", f"{precision['keyword search']:.1%}"),
    ]
    return Page(
        "mmprod: a rendered marketplace, three days on",
        [_accuracy(shown), *page.parts, _stages(shown)],
        facts,
    )


def _accuracy(shown: Demonstration) -> Part:
    weightings = Table(
        ("same item, listed twice", "found first", "recall@10", "mAP@10"),
        [(name, *map(Figure, figures)) for name, *figures in shown.weighting_rows()],
        "Sellers list the same item with another crop, light or watermark, and reworded or stuffed titles.",
    )
    searches = Table(
        ("texts such as “red striped mug”, 极简风台灯", "P@10"),
        [(name, Figure(value)) for name, value in shown.search_rows()],
        "About 30 % of the titles are stuffed with words for what the product is not. "
        "Some texts fit fewer than ten products: no answer could score more than the last row.",
    )
    return Part("Accuracy against the planted truth", tables=[weightings, searches])


def _stages(shown: Demonstration) -> Part:
    tables = [stage_table(outcomes, heading) for heading, outcomes in shown.stages.items()]
    return Part("What the stages did", tables=tables)
