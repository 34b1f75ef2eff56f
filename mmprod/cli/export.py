"""`mmprod export`: towers as engines for other runtimes."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmprod.cli.session import ConfigOption, JsonOption, LakeOption, Session, WaitOption

if TYPE_CHECKING:
    from mmprod.encoders.export.spec import Tower


class EngineKind(StrEnum):
    """What is to run the engine."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"


class Towers(StrEnum):
    """Which towers are exported."""

    IMAGE = "image"
    TEXT = "text"
    BOTH = "both"


_TOWERS: "dict[Towers, tuple[Tower, ...]]" = {
    Towers.IMAGE: ("image",),
    Towers.TEXT: ("text",),
    Towers.BOTH: ("image", "text"),
}


class Precision(StrEnum):
    """Of weights and arithmetic."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command()(export)


def export(
    kind: Annotated[EngineKind, typer.Argument(help="What is to run it.")],
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="This encoder, not the configured one.")
    ] = None,
    tower: Annotated[Towers, typer.Option("--tower", help="Which towers.")] = Towers.BOTH,
    precision: Annotated[
        Precision,
        typer.Option(
            "--precision",
            help="fp16: onnx, tensorrt, openvino; bf16: openvino; auto: half where faster here.",
        ),
    ] = Precision.FP32,
    samples: Annotated[
        Path | None,
        typer.Option("--samples", help="Try it on this folder's pictures and titles.txt, not on the store."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Copy the engine to this folder as well; not there yet.")
    ] = None,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Export the encoder's towers; an engine is published only if it says and finds what torch does.

    Example: mmprod export openvino --precision bf16 --out engines/shop
    """
    session = Session(config, lake, json, {"encoder.model": encoder})
    from mmprod.stages.training.export import check_free, copy_engine, export_engine

    if out:
        check_free(out)
    with session.lake.writing(wait):
        outcome = export_engine(
            session.lake, session.config, kind.value, precision.value, _TOWERS[tower], samples
        )
    folder = Path(outcome.detail["folder"])
    if out:
        copy_engine(folder, out)
    rows = [
        (c["tower"], c["name"], f"{c['value']:.9g}", str(c["limit"]), c["worst"])
        for c in outcome.detail["gate"]["checks"]
    ]
    title = f"{folder}{' (as before)' if outcome.reused else ''}"
    session.table(title, ("tower", "against torch", "", "limit", "worst at"), rows, outcome.to_dict())
