"""Writes a sheet as one HTML page that works without server or network; answers are downloaded as CSV."""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from mmprod.eval.sheets.sheet import COLUMNS, SEARCHED_FOR, Row, Side, require_rows
from mmprod.storage.files import replace_file


def write_html(path: Path, rows: Sequence[Row], title: str, reviewer: str = "") -> None:
    """Write a page that asks the questions `rows` one by one, with two products side by side.

    Reviewers answer with keys or large buttons. Answers are kept in the browser, and "Download answers"
    saves a filled-in CSV as of `write_csv`. The page is in English and Chinese.
    Args: title: heading of the page; reviewer: the sheet's reviewer, "": the page asks for the name.
    Each picture is stored once, however many questions show it: 2,000 questions with 12 kB thumbnails take
    about 40 MB. The page's Content-Security-Policy allows only its own script and styles, by their hashes,
    and no requests; titles and facts are always inserted as text. `path` is replaced atomically.
    Raises: InputError for a sheet without rows or with a repeated question.
    """
    require_rows(rows, path)
    script, style = _file("words.js") + _file("sheet.js"), _file("sheet.css")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(_file("sheet.html")).render(
        title=title,
        script=Markup(script),
        style=Markup(style),
        script_hash=_csp_hash(script),
        style_hash=_csp_hash(style),
        data=_data(rows, path.stem, reviewer),
    )
    replace_file(path, page)


def _data(rows: Sequence[Row], name: str, reviewer: str) -> dict[str, object]:
    """The data for sheet.js. `key` identifies the sheet in the browser's storage."""
    pictures: dict[bytes, int] = {}
    questions = [
        {
            "cells": row.cells,
            "sides": [_side(row.anchor, pictures), _side(row.product, pictures)],
            "note": row.note,
        }
        for row in rows
    ]
    return {
        "key": _key(rows, reviewer),
        "name": name,
        "reviewer": reviewer or rows[0].reviewer,
        "columns": COLUMNS,
        "rows": questions,
        "pictures": [base64.b64encode(picture).decode() for picture in pictures],
    }


def _side(side: Side, pictures: dict[bytes, int]) -> dict[str, object]:
    """A side, with its picture replaced by an index into `pictures`, to which new ones are added."""
    return {
        "id": side.product_id,
        "title": side.shown_title,
        "picture": pictures.setdefault(side.picture, len(pictures)) if side.picture else None,
        "facts": [fact for fact in side.facts if fact[0] != SEARCHED_FOR],
        "text": side.is_text,
    }


def _key(rows: Sequence[Row], reviewer: str) -> str:
    digest = hashlib.blake2b(digest_size=10)
    for part in (reviewer, *(row.question_id for row in rows)):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _file(name: str) -> str:
    return resources.files("mmprod.eval.sheets").joinpath(name).read_text("utf-8")
