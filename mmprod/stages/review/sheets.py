"""Writes the questions of a survey as sheets, one set per reviewer, in the configured formats."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.datasets.schemas import category_path
from mmprod.datasets.store.store import Store
from mmprod.eval.sheets.csv_file import write_csv
from mmprod.eval.sheets.label_studio import write_label_studio
from mmprod.eval.sheets.page import write_html
from mmprod.eval.sheets.sheet import SEARCHED_FOR, Row, Side
from mmprod.eval.sheets.workbook import write_xlsx
from mmprod.sections import Config
from mmprod.stages.outcome import Progress, no_progress
from mmprod.stages.products import small_picture
from mmprod.storage.errors import InputError

_ENDINGS = {"csv": "csv", "xlsx": "xlsx", "html": "html", "label-studio": "json"}


def write_sheets(
    folder: Path,
    config: Config,
    store: Store,
    title: str,
    questions: pa.Table,
    texts: Mapping[str, str],
    progress: Progress = no_progress,
) -> list[str]:
    """Write each reviewer's questions (QUESTION) below `folder`; returns the names of the files.

    `texts`: the anchors that are texts, by id. A picture that can't be decoded is left out.
    """
    ids = [*questions["anchor_id"].to_pylist(), *questions["product_id"].to_pylist()]
    sides = sides_of(config, store, list(dict.fromkeys(ids)), texts, progress)
    names = []
    for reviewer in sorted(set(questions["reviewer"].to_pylist())):
        own = questions.filter(pc.equal(questions["reviewer"], reviewer)).to_pylist()
        rows = [_row(question, sides) for question in own]
        stem = f"sheet-{_plain(reviewer)}" if reviewer else "sheet"
        for kind in config.review.sheets:
            names.append(f"{stem}.{_ENDINGS[kind]}")
            write_sheet(folder / names[-1], rows, title, reviewer)
    return names


def _row(question: Mapping[str, str], sides: Mapping[str, Side]) -> Row:
    """A row of a sheet; a text always comes first. In repeated questions the products are swapped."""
    anchor, product = sides[question["anchor_id"]], sides[question["product_id"]]
    first, second = (product, anchor) if product.is_text else (anchor, product)
    return Row(question["question_id"], first, second, reviewer=question["reviewer"])


def write_sheet(path: Path, rows: Sequence[Row], title: str, reviewer: str = "") -> None:
    """Write one sheet in the format of its name's ending. Raises: InputError for another ending."""
    if path.suffix == ".html":
        write_html(path, rows, title, reviewer)
    elif path.suffix == ".xlsx":
        write_xlsx(path, rows)
    elif path.suffix == ".json":
        write_label_studio(path, rows)
    elif path.suffix == ".csv":
        write_csv(path, rows)
    else:
        raise InputError(f"{path}: want a name that ends in .html, .xlsx, .csv or .json (Label Studio)")


def _plain(reviewer: str) -> str:
    """A reviewer's name as part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in reviewer)


def texts_of(anchors: pa.Table) -> dict[str, str]:
    """The anchors (ANCHOR) that are texts, by id."""
    texts = dict(zip(anchors["anchor_id"].to_pylist(), anchors["text"].to_pylist(), strict=True))
    return {anchor: text for anchor, text in texts.items() if text is not None}


def sides_of(
    config: Config,
    store: Store,
    ids: Sequence[str],
    texts: Mapping[str, str],
    progress: Progress = no_progress,
) -> dict[str, Side]:
    """Products and texts as shown to reviewers, by id."""
    advance = progress("pictures of the sheets", len(ids))
    return {id_: _side(config, store, id_, texts, advance) for id_ in ids}


def _side(
    config: Config, store: Store, product_id: str, texts: Mapping[str, str], advance: Callable[[int], None]
) -> Side:
    advance(1)
    if product_id in texts:
        return Side(product_id, texts[product_id], None, ((SEARCHED_FOR, texts[product_id]),))
    record = store.get(product_id)
    if record is None:
        return Side(product_id, "(not in the store)", None)
    facts = (("category", category_path(record.category)), ("brand", record.brand or ""))
    shown = tuple((name, value) for name, value in facts if value)
    picture = small_picture(store, record.image_hash, config.review.picture)
    return Side(product_id, record.title, picture, shown)
