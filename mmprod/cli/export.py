"""`mmprod export`: exports the encoder's towers as engines for other runtimes."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmprod.cli.options import WaitOption, with_session
from mmprod.cli.session import Session

if TYPE_CHECKING:
    from mmprod.encoders.export.spec import Tower


class EngineKind(StrEnum):
    """The runtime of the engine."""

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
    """Number format of weights and arithmetic."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


@with_session()
def export(
    session: Session,
    kind: Annotated[EngineKind, typer.Argument(help="The runtime.")],
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="Another encoder than the configured one.")
    ] = None,
    tower: Annotated[Towers, typer.Option("--tower", help="Which towers to export.")] = Towers.BOTH,
    precision: Annotated[
        Precision,
        typer.Option(
            "--precision",
            help="fp16: onnx, tensorrt, openvino; bf16: openvino; auto: half if faster here.",
        ),
    ] = Precision.FP32,
    samples: Annotated[
        Path | None,
        typer.Option(
            "--samples", help="Folder with pictures and titles.txt for the gate, instead of the store."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also copy the engine to this folder, which must not exist.")
    ] = None,
    wait: WaitOption = False,
) -> None:
    """Export the encoder's towers; an engine is published only if its vectors and results match torch's.

    Example: mmprod export openvino --precision bf16 --out engines/shop
    """
    session.override({"encoder.model": encoder})
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
