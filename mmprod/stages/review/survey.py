"""Surveys: drawing the anchors and pairs about which reviewers are asked, and writing the sheets."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmprod.datasets.schemas import ANCHOR, CANDIDATE, PAIR, QUESTION, RECALL, category_path
from mmprod.datasets.store.store import Store
from mmprod.eval.measures.precision import Precision
from mmprod.eval.survey.draw import draw_anchors, draw_pairs, take_candidates
from mmprod.eval.survey.frame import Facts, Frame
from mmprod.eval.survey.pair_ids import pair_id, shown
from mmprod.eval.survey.plan import NOTHING_KNOWN, Plan, plan
from mmprod.eval.survey.questions import PAIR_KEYS, questions
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.daily.recall import RECALL_FILE
from mmprod.stages.outcome import Outcome, Progress, no_progress, timed
from mmprod.stages.publish import reuse_or_publish
from mmprod.stages.review.judgements import ever_asked, gold, verdicts
from mmprod.stages.review.sheets import texts_of, write_sheets
from mmprod.storage import artifacts, parquet
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import sha256_file

SEARCH = "search"  # the survey of searches; other surveys are named after their profile
PICTURES, KEYWORDS = "picture search", "keyword search"  # its systems
Looks = Callable[[list[str]], list[str]]
TABLES = {"anchors": ANCHOR, "candidates": CANDIDATE, "pairs": PAIR, "questions": QUESTION}
"""The tables of a survey; each is a Parquet file."""


@dataclass(frozen=True)
class Survey:
    """A survey as it was drawn."""

    generation: str
    anchors: pa.Table
    candidates: pa.Table
    pairs: pa.Table
    questions: pa.Table


def read_survey(lake: Lake, name: str, generation: str | None = None) -> Survey:
    """The current survey of that name (`known_survey`), or an earlier `generation`."""
    with artifacts.opened(lake.survey(name), generation) as opened:
        tables = {table: parquet.read(opened.path / f"{table}.parquet") for table in TABLES}
        return Survey(opened.generation, **tables)


def known_survey(lake: Lake, config: Config, name: str | None) -> str:
    """The survey `name`, by default review.profile. Raises: StateError if there is no such survey."""
    chosen = name or config.review.profile
    if artifacts.current(lake.survey(chosen)) is None:
        there = sorted(path.name for path in lake.surveys.glob("*"))
        hint = f"there are {', '.join(there)}" if there else "run `mmprod review sample` first"
        raise StateError(f"no pair was asked about yet under the name {chosen!r}; {hint}")
    return chosen


@dataclass(frozen=True)
class System:
    """A system under review: the name and file of its recall table, and a `reference` to its version."""

    name: str
    path: Path
    reference: str


def system(lake: Lake, config: Config, spec: str) -> System:
    """The system given by a profile, ``PROFILE@GENERATION``, or ``NAME=FILE`` with the columns of RECALL.

    Raises: InputError for an unknown profile or a missing file; StateError for a missing recall table.
    """
    name, equals, file = spec.partition("=")
    if equals:
        if not Path(file).is_file():
            raise InputError(f"--also {spec}: there is no file {file}")
        return System(name, Path(file), sha256_file(Path(file)))
    profile, _, generation = spec.partition("@")
    config.profile(profile)
    root = lake.recall(profile)
    with artifacts.opened(root, generation or None) as opened:
        return System(
            spec,
            opened.path / RECALL_FILE,
            artifacts.Reference.of(opened.generation, opened.manifest.created_at),
        )


def plan_survey(lake: Lake, config: Config, store: Store) -> Plan:
    """The number of anchors and pairs of a survey, by category, and the expected margin of its figures."""
    return _plan(
        config, _frame(config, store, system(lake, config, config.review.profile)), _prior(lake, config)
    )


def sample(
    lake: Lake, config: Config, store: Store, also: Sequence[str] = (), progress: Progress = no_progress
) -> Outcome:
    """Draw anchors and pairs from the recall table, pooled with those of other systems; write the sheets.

    Only pairs that nobody has judged, with their current titles and pictures, are asked. With unchanged
    recall tables and options, the existing survey is reused.
    """
    review = config.review
    systems = [system(lake, config, spec) for spec in (review.profile, *also)]
    with timed("review sample") as outcome:
        inputs = {"recall": {one.name: one.reference for one in systems}}
        with surveying(lake, config, outcome, review.profile, inputs) as draft:
            if not draft.reused:
                frame = _frame(config, store, systems[0])
                anchors = draw_anchors(
                    frame, _plan(config, frame, _prior(lake, config)), _batches(systems[0])
                )
                found = [take_candidates(s.name, _batches(s), anchors, review.depth) for s in systems]
                fill(draft, lake, config, store, review.profile, anchors, pa.concat_tables(found), progress)
    return outcome


@contextmanager
def surveying(
    lake: Lake, config: Config, outcome: Outcome, name: str, inputs: dict[str, Any]
) -> Iterator[artifacts.Draft]:
    """Yields the survey drawn from the same inputs, or a draft for `fill`; see `reuse_or_publish`."""
    root = lake.survey(name)
    with reuse_or_publish(outcome, root, "survey", inputs, _options(config)) as draft:
        yield draft
        outcome.rows = draft.counts["pairs"]
        outcome.changed = 0 if draft.reused else draft.counts["asked"]
    outcome.detail = _detail(root, draft.generation)


def fill(
    draft: artifacts.Draft,
    lake: Lake,
    config: Config,
    store: Store,
    name: str,
    anchors: pa.Table,
    candidates: pa.Table,
    progress: Progress,
) -> None:
    """Draw pairs from the `candidates`; write them to the draft, and sheets with the unanswered questions."""
    review = config.review
    shown_of = looks(store, name)
    pairs = draw_pairs(candidates, review.rank_bands, shown_of, review.seed)
    judged = verdicts(lake, config)
    asked = questions(
        pairs,
        judged.keys(),
        _known(lake, config, shown_of),
        review.gold_share,
        review.repeat_share,
        review.reviewers,
        review.overlap,
        review.seed,
    )
    tables = {"anchors": anchors, "candidates": candidates, "pairs": pairs, "questions": asked}
    for table, schema in TABLES.items():
        parquet.write(draft.path / f"{table}.parquet", tables[table].to_batches(), schema)
    names = write_sheets(draft.path, config, store, name, asked, texts_of(anchors), progress)
    draft.counts |= {"anchors": anchors.num_rows, "pairs": pairs.num_rows, "asked": asked.num_rows}
    draft.counts |= {"judged before": sum(pair in judged for pair in pairs["pair_id"].to_pylist())}
    draft.counts |= {"sheets": names}


def _options(config: Config) -> dict[str, Any]:
    """The options on which drawing a survey depends, without those of its evaluation."""
    later = {"stable_seconds", "policy", "adjudicators", "excluded", "measures", "wanted_precision"}
    return config.review.model_dump(mode="json", exclude={*later, "alerts", "exchange"})


def _detail(root: Path, generation: str) -> dict[str, Any]:
    counts = artifacts.Manifest.read(root / generation).counts
    sheets = [str(root / generation / name) for name in counts["sheets"]]
    return {"generation": generation, **counts, "sheets": sheets, "sheet": sheets[0] if sheets else ""}


def looks(store: Store, name: str) -> Looks:
    """A function that describes what reviewers see of products: the survey's name and a hash.

    With the ids this identifies a question. A text needs no hash: its id is made from the text.
    """

    def shown_of(ids: list[str]) -> list[str]:
        known = store.get_many(ids)
        return [f"{name}:{shown(record.image_hash, record.text_hash) if record else ''}" for record in known]

    return shown_of


def _known(lake: Lake, config: Config, shown_of: Looks) -> pa.Table:
    """The questions that an adjudicator has answered and whose products still look the same."""
    answers = gold(lake, config)
    if not answers:
        return PAIR_KEYS.empty_table()
    asked = ever_asked(lake)
    known = asked.filter(pc.is_in(asked["pair_id"], value_set=pa.array(sorted(answers), pa.string())))
    sides = [known[name].to_pylist() for name in ("anchor_id", "product_id")]
    looks = [shown_of(ids) for ids in sides]
    now = [pair_id((a, x), (b, y)) for a, b, x, y in zip(*sides, *looks, strict=True)]
    return known.select(PAIR_KEYS.names).filter(pc.equal(known["pair_id"], pa.array(now, pa.string())))


def _frame(config: Config, store: Store, of: System) -> Frame:
    review = config.review

    def facts_of(ids: list[str]) -> list[Facts]:
        return [
            Facts(category_path(r.category) if r else "", r.sales if r else None) for r in store.get_many(ids)
        ]

    return Frame.of(_batches(of), facts_of, review.seed, review.level, review.sales_bands)


def _plan(config: Config, frame: Frame, prior: dict[str, tuple[float, float]]) -> Plan:
    review = config.review
    per_anchor = sum(how_many for _, how_many in review.rank_bands)
    return plan(frame.strata, per_anchor, review.margin, review.anchors_per_category, prior)


def _prior(lake: Lake, config: Config) -> dict[str, tuple[float, float]]:
    """By category, the precision from the last evaluation and an assumed correlation of an anchor's pairs."""
    root = lake.evaluation(config.review.profile)
    if artifacts.current(root) is None:
        return {}
    with artifacts.opened(root) as opened:
        rows = parquet.read(opened.path / "metrics.parquet").to_pylist()
    wanted = {
        "system": config.review.profile,
        "facet": "category",
        "measure": Precision().name,
        "variant": "pooled",
    }
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return {row["scope"]: (row["value"], NOTHING_KNOWN[1]) for row in found}


def _batches(of: System) -> Iterator[pa.RecordBatch]:
    """A recall table in record batches."""
    with pq.ParquetFile(of.path) as file:
        for batch in file.iter_batches(columns=RECALL.names):
            yield batch.cast(RECALL)
