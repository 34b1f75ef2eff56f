"""Writes a sheet as Label Studio tasks."""

import base64
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from mmprod.eval.sheets.sheet import Row, Side, require_rows
from mmprod.storage.files import replace_file

LABELLING_CONFIG = """<View>
  <View style="display: flex; gap: 24px">
    <View style="flex: 1"><HyperText name="anchor" value="$anchor_html" inline="true"/></View>
    <View style="flex: 1"><HyperText name="product" value="$product_html" inline="true"/></View>
  </View>
  <Choices name="label" toName="product" choice="single" showInline="true">
    <Choice value="same" hint="同款" hotkey="1"/>
    <Choice value="different" hint="不同" hotkey="0"/>
  </Choices>
</View>
"""
"""The project's labelling interface: the answer is the choice "label"; unsure reviewers skip the task."""


def write_label_studio(path: Path, rows: Sequence[Row]) -> None:
    """Write import tasks (JSON) to `path`, and the labelling interface beside it as NAME.config.xml.

    A task's `data` holds pair_id, anchor_id and product_id unchanged, both titles, and each side as HTML
    including its picture. Titles and facts are escaped. Both files are replaced atomically.
    Raises: InputError for a sheet without rows or with a repeated question.
    """
    require_rows(rows, path)
    tasks = [{"data": _data(row)} for row in rows]
    replace_file(path.with_suffix(".config.xml"), LABELLING_CONFIG)
    replace_file(path, json.dumps(tasks))


def _data(row: Row) -> dict[str, str]:
    return {
        "pair_id": row.question_id,
        "anchor_id": row.anchor.product_id,
        "anchor_title": row.anchor.shown_title,
        "product_id": row.product.product_id,
        "product_title": row.product.shown_title,
        "reviewer": row.reviewer,
        "anchor_html": _html(row.anchor),
        "product_html": _html(row.product),
    }


def _html(side: Side) -> str:
    picture = ""
    if side.picture:
        source = "data:image/jpeg;base64," + base64.b64encode(side.picture).decode()
        picture = f'<img src="{source}" alt="" style="max-width: 100%; max-height: 420px">'
    facts = "".join(f"<div>{escape(name)} {escape(value)}</div>" for name, value in side.facts)
    return f"{picture}<h3>{escape(side.shown_title)}</h3>{facts}"
