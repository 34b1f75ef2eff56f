"""`mmprod make-base`: tiny models to try fine-tuning, captions and export on."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.pipeline import TableOption
from mmprod.cli.session import ConfigOption, JsonOption, Session


class BaseKind(StrEnum):
    """Which architecture, files and tokenizer the base has."""

    CLIP = "clip"
    SIGLIP = "siglip"
    CHINESE_CLIP = "chinese-clip"
    BLIP = "blip"


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command("make-base")(make_base)


def make_base(
    kind: Annotated[BaseKind, typer.Argument(help="The architecture.")],
    folder: Annotated[Path, typer.Argument(help="Where to write it; must not be there yet.")],
    table: TableOption,
    width: Annotated[int, typer.Option("--width", help="Of towers and vectors; a multiple of 32.")] = 64,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Write a tiny base with random weights: for trying things out offline, it knows nothing.

    Its tokenizer's vocabulary is made from the table's titles (CLIP brings its own).

    Example: mmprod make-base clip bases/clip --table products.parquet
    """
    session = Session(config, None, json)
    from mmprod.stages.training.bases import make_base as make

    encoder = make(session.config, kind.value, table, folder, width)
    size = sum(file.stat().st_size for file in folder.iterdir())
    content = {"model": f"local-dir:{folder}", "fingerprint": encoder.fingerprint, "bytes": size}
    session.show(
        content, f"{folder}: {kind} with random weights, {encoder.width} dimensions, {size / 1e6:.1f} MB"
    )
