"""Shared by the commands that copy files shipped with mmprod."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.session import Session
from mmprod.shipped import copy

OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace existing files that differ; without it they are an error."),
]


def hand_out(session: Session, files: Mapping[str, Path], folder: Path, overwrite: bool) -> None:
    """Copy the files into the folder and print the ones written."""
    written = [str(path) for path in copy(files, folder, overwrite)]
    text = "\n".join(written) or f"{folder} has all {len(files)} files already"
    session.show({"folder": str(folder), "written": written, "unchanged": len(files) - len(written)}, text)
