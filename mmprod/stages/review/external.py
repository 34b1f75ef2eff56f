"""Evaluates recall tables and label files of other systems, without a lake."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from mmprod.datasets.schemas import ANCHOR, CANDIDATE, PAIR, QUESTION
from mmprod.eval.compare.history import HISTORY
from mmprod.eval.judged import Judged
from mmprod.eval.labels import LabelFile, read_labels
from mmprod.eval.reviewers.verdicts import decide
from mmprod.eval.survey.strata import NO_CATEGORY, Bands
from mmprod.sections import Review
from mmprod.stages.review.evaluation import Assessment, Evaluated
from mmprod.stages.review.judgements import counting
from mmprod.storage.errors import InputError

_IDS = ("anchor_id", "product_id")
_TYPES = {"rank": pa.int32(), "score": pa.float32(), "image_score": pa.float32(), "text_score": pa.float32()}
_TEXTS = ("system", "category", "group_id")


def read_recall_file(path: Path, system: str = "recall") -> pa.Table:
    """Read a recall table of any system: CSV or Parquet with anchor_id, product_id, and score or rank.

    Without `rank`, products are ranked by score, equal scores in the order of the file; without `score`, the
    score is minus the rank. Optional columns: system, image_score, text_score, category and sales of the
    anchor. Returns: all these columns, including those of CANDIDATE, sorted by system, anchor and rank.
    Raises: InputError for a file that can't be read or lacks a required column.
    """
    table = _read(path)
    _require(table, path, _IDS)
    if not {"rank", "score"} & set(table.schema.names):
        raise InputError(f"{path}: want a column rank or score; there are {', '.join(table.schema.names)}")
    columns = {name: _cast(table, name, pa.string(), path) for name in _IDS}
    for name, type_ in _TYPES.items():
        columns[name] = _cast(table, name, type_, path)
    columns["system"] = _cast(table, "system", pa.string(), path, system)
    columns["category"] = _cast(table, "category", pa.string(), path, NO_CATEGORY)
    columns["sales"] = _cast(table, "sales", pa.float64(), path)
    return _ranked(pa.table(columns), "rank" in table.schema.names, "score" in table.schema.names)


def read_columns(path: Path, names: Sequence[str]) -> pa.Table:
    """Text columns of a CSV or Parquet file. Raises: InputError if one is missing or has empty cells."""
    table = _read(path)
    _require(table, path, names)
    columns = {name: _cast(table, name, pa.string(), path) for name in names}
    for name, column in columns.items():
        if column.null_count:
            raise InputError(f"{path}, column {name}: {column.null_count} of {len(column)} are empty")
    return pa.table(columns)


def _require(table: pa.Table, path: Path, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in table.schema.names]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; there are {', '.join(table.schema.names)}")


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    texts = dict.fromkeys((*_IDS, *_TEXTS), pa.string())
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        return pv.read_csv(path, convert_options=pv.ConvertOptions(column_types=texts))
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise InputError(f"{path} can't be read: {error}") from error


def _cast(table: pa.Table, name: str, type_: pa.DataType, path: Path, default: str | None = None) -> pa.Array:
    """A column as `type_`, with the default if it is missing and for empty cells."""
    if name not in table.schema.names:
        return pa.repeat(pa.scalar(default, type_), table.num_rows)
    try:
        column = table.column(name).cast(type_).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{path}, column {name}: {error}") from error
    if name in _IDS and column.null_count:
        raise InputError(f"{path}, column {name}: {column.null_count} of {len(column)} are empty")
    return column if default is None else pc.fill_null(column, default)


def _ranked(table: pa.Table, by_rank: bool, scored: bool) -> pa.Table:
    """Sort rows by system, anchor and rank, and compute ranks or scores if the table lacks them."""
    order = ("rank", "ascending") if by_rank else ("score", "descending")
    keys = [("system", "ascending"), ("anchor_id", "ascending"), order]
    table = table.take(pc.sort_indices(table, sort_keys=keys))
    if not by_rank:
        names = [table.column(name).dictionary_encode().combine_chunks() for name in ("system", "anchor_id")]
        system, anchor = (name.indices.to_numpy().astype(np.int64) for name in names)
        lists = system * len(names[1].dictionary) + anchor
        starts = np.flatnonzero(np.diff(lists, prepend=-1))
        rank = np.arange(len(lists)) - np.repeat(starts, np.diff(starts, append=len(lists))) + 1
        table = table.set_column(table.schema.get_field_index("rank"), "rank", pa.array(rank, pa.int32()))
    if not scored:
        score = pc.negate(table.column("rank").cast(pa.float32()))
        table = table.set_column(table.schema.get_field_index("score"), "score", score)
    return table


def judge(
    recall: pa.Table, labels: Sequence[Path], review: Review, reviewer: str = ""
) -> tuple[Judged, pa.Table, list[LabelFile]]:
    """Apply label files to a recall table (`read_recall_file`); returns (judged, judgements, files as read).

    Anchors with a label are treated as a random sample, by category, of all anchors of the table. All
    neighbours of such an anchor down to `review.depth` are treated as asked. Raises: InputError if no label
    belongs to the table.
    """
    deep = recall.filter(pc.less_equal(recall.column("rank"), review.depth))
    questions = _questions(deep)
    now = datetime.now(UTC)
    files = [
        read_labels(path, questions, now, reviewer, by_ids=True, encoding=review.encoding) for path in labels
    ]
    judgements = pa.concat_tables([file.judgements for file in files])
    if not judgements.num_rows:
        raise InputError(f"no row of {', '.join(map(str, labels))} could be used: see the reasons")
    same = decide(counting(judgements, review), review.policy, review.adjudicators).same
    return Judged(*_sample(deep, questions, judgements, review), same), judgements, files


def _questions(deep: pa.Table) -> pa.Table:
    """One question for each row of the table; (a, b) and (b, a) are the same pair."""
    anchors, products = (deep.column(name).combine_chunks() for name in _IDS)
    known = pa.chunked_array([anchors, products]).unique()
    sides = [pc.index_in(ids, value_set=known).to_numpy().astype(np.int64) for ids in (anchors, products)]
    number = np.minimum(*sides) * len(known) + np.maximum(*sides)
    names = pc.binary_join_element_wise("p", pa.array(number).cast(pa.string()), "")
    columns = {"question_id": names, "pair_id": names, "anchor_id": anchors, "product_id": products}
    constant = {"role": pa.repeat("asked", len(names)), "reviewer": pa.repeat("", len(names))}
    return pa.table({**columns, **constant}).cast(QUESTION)


def _sample(
    deep: pa.Table, questions: pa.Table, judgements: pa.Table, review: Review
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """(ANCHOR, CANDIDATE, PAIR) of the anchors that have a judgement."""
    judged = pc.is_in(questions.column("pair_id"), value_set=judgements.column("pair_id").unique())
    asked = deep.column("anchor_id").filter(judged).unique()
    mine = pc.is_in(deep.column("anchor_id"), value_set=asked)
    candidates = deep.filter(mine)
    pairs = candidates.append_column("pair_id", questions.column("pair_id").filter(mine))
    best = pairs.group_by(["pair_id", *_IDS], use_threads=False).aggregate([("rank", "min")])
    ones = np.ones(best.num_rows)
    pair = {"rank": best["rank_min"], "rank_band": ones.astype(np.int32), "weight": ones}
    return (
        _anchors(deep, asked, review),
        candidates.select(CANDIDATE.names).cast(CANDIDATE),
        pa.table({**{n: best[n] for n in ("pair_id", *_IDS)}, **pair}).cast(PAIR),
    )


def _anchors(deep: pa.Table, asked: pa.Array, review: Review) -> pa.Table:
    """The judged anchors with their categories and bands, and the number of anchors of each in the table."""
    every = deep.group_by("anchor_id", use_threads=False).aggregate(
        [("category", "first"), ("sales", "first")]
    )
    sales = every["sales_first"].to_numpy()
    bands = Bands.of(sales, review.sales_bands)
    band = [bands.names[place] for place in bands.index(sales.astype(np.float64)).tolist()]
    rows = pa.table({"anchor_id": every["anchor_id"], "category": every["category_first"], "band": band})
    mine = rows.filter(pc.is_in(rows["anchor_id"], value_set=asked))
    keys = ["category", "band"]
    populations = rows.group_by(keys).aggregate([([], "count_all")]).rename_columns([*keys, "population"])
    drawn = mine.group_by(keys).aggregate([([], "count_all")]).rename_columns([*keys, "drawn"])
    joined = mine.join(populations, keys).join(drawn, keys).sort_by("anchor_id")
    weight = pc.divide(joined["population"].cast(pa.float64()), joined["drawn"].cast(pa.float64()))
    texts = pa.nulls(joined.num_rows, pa.string())
    columns = {name: joined[name] for name in ("anchor_id", *keys, "population")}
    return pa.table({**columns, "text": texts, "weight": weight}).select(ANCHOR.names).cast(ANCHOR)


def evaluated(name: str, judged: Judged, found: Assessment) -> Evaluated:
    """The input of a report about such an evaluation; its history is empty."""
    made = datetime.now(UTC).isoformat(timespec="seconds")
    return Evaluated(name, "", made, judged, found, HISTORY.empty_table())
