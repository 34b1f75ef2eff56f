"""A sheet for an adjudicator: the pairs that reviewers answer differently."""

from pathlib import Path

import pyarrow.compute as pc

from mmprod.datasets.store.store import Store
from mmprod.eval.reviewers.verdicts import contested
from mmprod.eval.sheets.sheet import Row
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.review.judgements import counting, gold, read_judgements
from mmprod.stages.review.sheets import sides_of, texts_of, write_sheet
from mmprod.stages.review.survey import read_survey


def write_conflicts(lake: Lake, config: Config, store: Store, survey: str | None, path: Path) -> int:
    """Write the contested pairs that no adjudicator has decided; returns their number, no file if 0."""
    name = survey or config.review.profile
    asked = read_survey(lake, name)
    rows = contested(counting(read_judgements(lake), config.review))
    rows = rows.filter(pc.is_in(rows["pair_id"], value_set=asked.pairs["pair_id"]))
    decided = gold(lake, config)
    found = [row for row in rows.to_pylist() if row["pair_id"] not in decided]
    if not found:
        return 0
    ids = list(dict.fromkeys(row[side] for row in found for side in ("anchor_id", "product_id")))
    sides = sides_of(config, store, ids, texts_of(asked.anchors))
    write_sheet(path, [_row(row, sides) for row in found], f"{name}: to decide")
    return len(found)


def _row(pair: dict, sides: dict) -> Row:  # type: ignore[type-arg]
    said = f"same: {', '.join(pair['same'])} · different: {', '.join(pair['different'])}"
    return Row(pair["pair_id"], sides[pair["anchor_id"]], sides[pair["product_id"]], said)
