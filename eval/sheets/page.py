"""A sheet as one HTML page that works from a file: no server, no network, answers downloaded as its CSV."""

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
    """Write a page that asks `rows` one after the other, two products side by side.

    Keys or big buttons answer; answers stay in the browser as they are given, and "Download answers" saves
    what `write_csv` would have written, filled in. The page says its words in English or Chinese.

    Args: title: heading of the page; reviewer: whose sheet it is, "" asks for the name.
    A picture is stored once however many questions show it: 2,000 questions with 12 kB thumbnails are about
    40 MB. The page's Content-Security-Policy runs its own script and styles, known by their hashes, and
    lets nothing be fetched; titles and facts are text wherever they stand.
    Raises: InputError for a sheet without a row or with a question twice. `path` is replaced whole.
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
    """What sheet.js reads. `key` names the sheet in the browser's storage: another sheet, other answers."""
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
    """A side, its picture replaced by its place among `pictures`, where it is entered if new."""
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
