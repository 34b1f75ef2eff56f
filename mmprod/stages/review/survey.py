"""A survey: which anchors and pairs reviewers are asked about, and the sheets that ask."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.schemas import ANCHOR, CANDIDATE, PAIR, QUESTION, RECALL, category_path
from mmprod.datasets.store.store import Store
from mmprod.eval.survey.draw import draw_anchors, draw_pairs, take_candidates
from mmprod.eval.survey.frame import Facts, Frame
from mmprod.eval.survey.pair import pair_id, shown
from mmprod.eval.survey.plan import NOTHING_KNOWN, Plan, plan
from mmprod.eval.survey.questions import PAIR_KEYS, questions
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.daily.recall import RECALL_FILE
from mmprod.stages.outcome import Outcome, Watch, silent, timed
from mmprod.stages.review.judgements import ever_asked, gold, verdicts
from mmprod.stages.review.sheets import texts_of, write_sheets
from mmprod.storage import artifacts, parquet
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import sha256_file

SEARCH = "search"  # the survey of searches; the others have the name of a profile
PICTURES, KEYWORDS = "picture search", "keyword search"  # its systems
Looks = Callable[[list[str]], list[str]]
TABLES = {"anchors": ANCHOR, "candidates": CANDIDATE, "pairs": PAIR, "questions": QUESTION}
"""The tables of a survey, a Parquet file each."""


@dataclass(frozen=True)
class Survey:
    """A survey as it was drawn."""

    generation: str
    anchors: pa.Table
    candidates: pa.Table
    pairs: pa.Table
    questions: pa.Table


def read_survey(lake: Lake, name: str, generation: str | None = None) -> Survey:
    """The current survey of that name (`known_survey`), or an earlier one."""
    with artifacts.opened(lake.survey(name), generation) as opened:
        tables = {table: parquet.read(opened.path / f"{table}.parquet") for table in TABLES}
        return Survey(opened.generation, **tables)


def known_survey(lake: Lake, config: Config, name: str | None) -> str:
    """The survey that is meant: `name`, or the one of the configured profile. Raises: StateError if none."""
    chosen = name or config.review.profile
    if artifacts.current(lake.survey(chosen)) is None:
        there = sorted(path.name for path in lake.surveys.glob("*"))
        hint = f"there are {', '.join(there)}" if there else "run `mmprod review sample` first"
        raise StateError(f"no pair was asked about yet under the name {chosen!r}; {hint}")
    return chosen


@dataclass(frozen=True)
class System:
    """Something whose answers are reviewed: a recall table by name, and how it is told apart."""

    name: str
    path: Path
    reference: str


def system(lake: Lake, config: Config, spec: str) -> System:
    """A profile, ``PROFILE@GENERATION`` of its recall table, or ``NAME=FILE`` of RECALL's columns.

    Raises: InputError for a profile or file that isn't there, StateError for a recall table that isn't.
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
        return System(spec, opened.path / RECALL_FILE, f"{opened.generation} {opened.manifest.created_at}")


def plan_survey(lake: Lake, config: Config, store: Store) -> Plan:
    """How many anchors and pairs a survey takes, by category, and how exact that makes its figures."""
    return _plan(
        config, _frame(config, store, system(lake, config, config.review.profile)), _prior(lake, config)
    )


def sample(
    lake: Lake, config: Config, store: Store, also: Sequence[str] = (), watch: Watch = silent
) -> Outcome:
    """Draw anchors and pairs from the recall table, pooled with those of other systems; write the sheets.

    Asked are the pairs that nobody has judged as they look now. The same recall tables and options give
    the survey that is there.
    """
    review = config.review
    systems = [system(lake, config, spec) for spec in (review.profile, *also)]
    with timed("review sample") as outcome:
        inputs = {"recall": {one.name: one.reference for one in systems}}
        if reuse(lake, config, outcome, review.profile, inputs):
            return outcome
        frame = _frame(config, store, systems[0])
        anchors = draw_anchors(frame, _plan(config, frame, _prior(lake, config)), _batches(systems[0]))
        found = [take_candidates(s.name, _batches(s), anchors, review.depth) for s in systems]
        publish(lake, config, store, outcome, review.profile, inputs, anchors, pa.concat_tables(found), watch)
    return outcome


def publish(
    lake: Lake,
    config: Config,
    store: Store,
    outcome: Outcome,
    name: str,
    inputs: dict[str, Any],
    anchors: pa.Table,
    candidates: pa.Table,
    watch: Watch,
) -> None:
    """Draw pairs of the `candidates`; publish them with the questions that nobody has answered, as sheets."""
    review, root = config.review, lake.survey(name)
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
    with artifacts.publishing(root, "survey", inputs, _options(config)) as draft:
        for table, schema in TABLES.items():
            parquet.write(draft.path / f"{table}.parquet", tables[table].to_batches(), schema)
        names = write_sheets(draft.path, config, store, name, asked, texts_of(anchors), watch)
        draft.counts |= {"anchors": anchors.num_rows, "pairs": pairs.num_rows, "asked": asked.num_rows}
        draft.counts |= {"judged before": sum(pair in judged for pair in pairs["pair_id"].to_pylist())}
        draft.counts |= {"sheets": names}
    artifacts.switch(root, draft.generation)
    outcome.rows, outcome.changed = pairs.num_rows, asked.num_rows
    outcome.detail, outcome.made = _detail(root, draft.generation), {str(root): draft.generation}


def reuse(lake: Lake, config: Config, outcome: Outcome, name: str, inputs: dict[str, Any]) -> bool:
    generation = artifacts.reusable(lake.survey(name), inputs, _options(config))
    if generation:
        outcome.detail = _detail(lake.survey(name), generation)
        outcome.made[str(lake.survey(name))] = generation
        outcome.rows = outcome.reused = outcome.detail["pairs"]
    return generation is not None


def _options(config: Config) -> dict[str, Any]:
    """What of the configuration a survey depends on; how answers are judged comes later."""
    later = {"settle", "policy", "adjudicators", "excluded", "measures", "wanted_precision"}
    return config.review.model_dump(mode="json", exclude={*later, "alerts", "exchange"})


def _detail(root: Path, generation: str) -> dict[str, Any]:
    counts = artifacts.Manifest.read(root / generation).counts
    sheets = [str(root / generation / name) for name in counts["sheets"]]
    return {"generation": generation, **counts, "sheets": sheets, "sheet": sheets[0] if sheets else ""}


def looks(store: Store, name: str) -> Looks:
    """What tells a question apart besides its ids: the survey's name and what is shown of a product.

    A text that is searched for is shown as what it is, and its id is made of it.
    """

    def shown_of(ids: list[str]) -> list[str]:
        known = store.get_many(ids)
        return [f"{name}:{shown(record.image_hash, record.text_hash) if record else ''}" for record in known]

    return shown_of


def _known(lake: Lake, config: Config, shown_of: Looks) -> pa.Table:
    """The questions an adjudicator has answered, as far as the products look as they did then."""
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
    """The precision that the last evaluation found, by category; how alike an anchor's pairs are, assumed."""
    root = lake.evaluation(config.review.profile)
    if artifacts.current(root) is None:
        return {}
    with artifacts.opened(root) as opened:
        rows = parquet.read(opened.path / "metrics.parquet").to_pylist()
    wanted = {
        "system": config.review.profile,
        "facet": "category",
        "measure": "precision",
        "variant": "pooled",
    }
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return {row["scope"]: (row["value"], NOTHING_KNOWN[1]) for row in found}


def _batches(of: System) -> Iterator[pa.RecordBatch]:
    """A recall table, read in pieces."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(of.path) as file:
        for batch in file.iter_batches(columns=RECALL.names):
            yield batch.cast(RECALL)
