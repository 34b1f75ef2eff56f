"""`mmprod make-base`: tiny random models for trying out fine-tuning, captions and export."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.options import TableOption, with_session
from mmprod.cli.session import Session


class BaseKind(StrEnum):
    """Architecture, file format and tokenizer of the base."""

    CLIP = "clip"
    SIGLIP = "siglip"
    CHINESE_CLIP = "chinese-clip"
    BLIP = "blip"


@with_session(lake=False)
def make_base(
    session: Session,
    kind: Annotated[BaseKind, typer.Argument(help="The architecture.")],
    folder: Annotated[Path, typer.Argument(help="Where to write it; must not exist.")],
    table: TableOption,
    width: Annotated[
        int, typer.Option("--width", help="Width of towers and vectors; a multiple of 32.")
    ] = 64,
) -> None:
    """Write a tiny base model with random weights, for trying out commands offline.

    Its tokenizer's vocabulary is made from the table's titles (CLIP has its own).

    Example: mmprod make-base clip bases/clip --table products.parquet
    """
    from mmprod.stages.training.bases import make_base as make

    encoder = make(session.config, kind.value, table, folder, width)
    size = sum(file.stat().st_size for file in folder.iterdir())
    content = {"model": f"local-dir:{folder}", "fingerprint": encoder.fingerprint, "bytes": size}
    session.show(
        content, f"{folder}: {kind} with random weights, {encoder.width} dimensions, {size / 1e6:.1f} MB"
    )
