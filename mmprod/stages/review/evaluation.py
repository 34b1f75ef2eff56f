"""Evaluation: the figures of a survey from all judgements so far, and their history."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from mmprod.datasets.schemas import METRIC
from mmprod.eval.compare.alerts import Rule, alerts
from mmprod.eval.compare.history import HISTORY, history
from mmprod.eval.compare.paired import DIFFERENCE, compare
from mmprod.eval.figures.groups import pure_groups
from mmprod.eval.figures.metrics import ALL, figures
from mmprod.eval.figures.thresholds import THRESHOLD, thresholds
from mmprod.eval.judged import Judged
from mmprod.eval.reviewers.agreement import COHEN, Agreement, agreement, cohen_table
from mmprod.eval.reviewers.quality import QUALITY, quality
from mmprod.eval.reviewers.verdicts import CONTESTED, contested
from mmprod.lake import Lake
from mmprod.sections import Config, Review
from mmprod.stages.outcome import Outcome, timed
from mmprod.stages.publish import reuse_or_publish
from mmprod.stages.review.judgements import counting, decided, gold, read_judgements
from mmprod.stages.review.survey import PICTURES, SEARCH, known_survey, read_survey
from mmprod.storage import artifacts, parquet
from mmprod.storage.errors import StateError

TABLES = {
    "metrics": METRIC,
    "thresholds": THRESHOLD,
    "differences": DIFFERENCE,
    "quality": QUALITY,
    "cohen": COHEN,
    "contested": CONTESTED,
}
"""The tables of an evaluation; each is a Parquet file."""
FACTS_FILE = "facts.json"  # agreement and alerts
_MAIN = {SEARCH: PICTURES}  # the main system of other surveys is the profile of their name


@dataclass(frozen=True)
class Assessment:
    """The results of an evaluation: the tables of TABLES, the reviewers' agreement, and alerts."""

    tables: Mapping[str, pa.Table]
    agreement: Agreement
    alerts: Sequence[str] = ()


def in_order(systems: Sequence[str], survey: str) -> list[str]:
    """The systems of a survey, the main one first."""
    main = _MAIN.get(survey, survey)
    return sorted(systems, key=lambda name: (name != main, name))


def assess(
    judged: Judged, judgements: pa.Table, known: Mapping[str, bool], review: Review, survey: str
) -> Assessment:
    """Compute every figure of a survey.

    `judgements` (JUDGEMENT) may include those of other surveys; `known`: the gold answers by pair.
    """
    main, *others = in_order(judged.systems, survey)
    counted = counting(judgements, review)
    limits = pa.concat_tables([thresholds(judged, name, review.wanted_precision) for name in judged.systems])
    metrics = figures(judged, review.all_measures)
    tables = {
        "metrics": pa.concat_tables([metrics, *_groups(judged, limits, review)]),
        "thresholds": limits,
        "differences": pa.concat_tables(
            [compare(judged, other, main, review.all_measures) for other in others]
            or [DIFFERENCE.empty_table()]
        ),
        "quality": quality(judgements, known),
        "cohen": cohen_table(counted),
        "contested": contested(counted),
    }
    return Assessment(tables, agreement(counted))


def _groups(judged: Judged, limits: pa.Table, review: Review) -> list[pa.Table]:
    """Purity of the groups that result from the thresholds of the lowest wanted precision."""
    wanted = min(review.wanted_precision, default=None)
    made = []
    for name in judged.systems:
        rows = [r for r in limits.to_pylist() if r["system"] == name and r["wanted"] == wanted]
        known = (r for r in rows if r["threshold"] is not None and r["category"] != ALL)
        by_category = {r["category"]: r["threshold"] for r in known}
        if by_category:
            made.append(pure_groups(judged, name, by_category))
    return made


def judge_survey(lake: Lake, config: Config, name: str) -> Judged:
    """A survey together with the verdicts on its pairs."""
    survey = read_survey(lake, name)
    return Judged(survey.anchors, survey.candidates, survey.pairs, decided(lake, config).same)


def evaluate(lake: Lake, config: Config, name: str) -> Outcome:
    """Evaluate the survey `name` and publish its figures, unless nothing has changed since the last time."""
    review, root = config.review, lake.evaluation(name)
    with timed(f"evaluate {name}") as outcome:
        inputs = {
            "survey": artifacts.reference(lake.survey(known_survey(lake, config, name))),
            "judgements": artifacts.generations(lake.judgements),
        }
        options = review.model_dump(
            mode="json",
            include={"policy", "adjudicators", "excluded", "measures", "wanted_precision", "alerts"},
        )
        judgements = read_judgements(lake)
        outcome.rows = judgements.num_rows
        with reuse_or_publish(outcome, root, "evaluation", inputs, options) as draft:
            if not draft.reused:
                found = assess(judge_survey(lake, config, name), judgements, gold(lake, config), review, name)
                told = _alerts(lake, config, name, found.tables["metrics"], str(inputs["survey"]))
                for table, schema in TABLES.items():
                    parquet.write(draft.path / f"{table}.parquet", found.tables[table].to_batches(), schema)
                facts = {"agreement": asdict(found.agreement), "alerts": told}
                (draft.path / FACTS_FILE).write_text(json.dumps(facts, ensure_ascii=False))
                draft.counts |= {"judgements": judgements.num_rows, "alerts": len(told)}
                draft.counts |= {"contested": found.tables["contested"].num_rows}
    return outcome


def read_assessment(lake: Lake, name: str, generation: str | None = None) -> Assessment:
    """The current evaluation of a survey, or an earlier `generation`. Raises: StateError if there is none."""
    if artifacts.current(lake.evaluation(name)) is None:
        raise StateError(
            f"the survey {name!r} has not been evaluated yet; run `mmprod evaluate survey {name}`"
        )
    with artifacts.opened(lake.evaluation(name), generation) as opened:
        tables = {table: parquet.read(opened.path / f"{table}.parquet") for table in TABLES}
        facts = json.loads((opened.path / FACTS_FILE).read_text())
        return Assessment(tables, Agreement(**facts["agreement"]), facts["alerts"])


@dataclass(frozen=True)
class Evaluated:
    """Everything a report of an evaluation shows."""

    name: str  # of the survey
    generation: str
    made_at: str  # ISO 8601
    judged: Judged
    assessment: Assessment
    history: pa.Table  # HISTORY: this and all earlier evaluations of the survey

    @property
    def systems(self) -> list[str]:
        """The systems, the survey's main one first."""
        return in_order(self.judged.systems, self.name)


def read_evaluated(lake: Lake, config: Config, name: str) -> Evaluated:
    """The current evaluation of a survey, for a report. Raises: StateError if there is none."""
    assessment = read_assessment(lake, name)
    generation = str(artifacts.current(lake.evaluation(name)))
    made_at = artifacts.Manifest.read(lake.evaluation(name) / generation).created_at
    judged = judge_survey(lake, config, name)
    return Evaluated(name, generation, made_at, judged, assessment, read_history(lake, name))


def read_history(lake: Lake, name: str) -> pa.Table:
    """The figures of all evaluations of a survey so far, schema HISTORY, oldest first."""
    made = [(manifest["made"], metrics) for manifest, metrics in _past(lake, name)]
    return history(made) if made else HISTORY.empty_table()


def _past(lake: Lake, name: str) -> list[tuple[dict[str, Any], pa.Table]]:
    found = []
    for generation in artifacts.generations(lake.evaluation(name)):
        with artifacts.opened(lake.evaluation(name), generation) as opened:
            facts = {"made": opened.manifest.created_at, "survey": opened.manifest.inputs["survey"]}
            found.append((facts, parquet.read(opened.path / "metrics.parquet")))
    return found


def _alerts(lake: Lake, config: Config, name: str, now: pa.Table, survey: str) -> list[str]:
    """The alerts: figures that have fallen since the last evaluation of an earlier survey."""
    before = [metrics for facts, metrics in _past(lake, name) if facts["survey"] != survey]
    if not before:
        return []
    main = in_order(now["system"].unique().to_pylist(), name)[0]
    rules = [Rule(**alert.model_dump(), system=main) for alert in config.review.alerts]
    return [alert.text for alert in alerts(before[-1], now, rules)]
