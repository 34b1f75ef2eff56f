"""Building an engine folder from an encoder."""

import importlib.metadata
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmprod.encoders.clip import Encoder
from mmprod.encoders.export import onnx, openvino, raw, tensorrt
from mmprod.encoders.export.inputs import pad_of
from mmprod.encoders.export.modules import ImageTower, TextTower
from mmprod.encoders.export.spec import PRECISIONS, Kind, Precision, Spec, Tower, files_of
from mmprod.storage.errors import InputError, StateError

log = logging.getLogger(__name__)
_LIBRARIES = {"onnx": "onnxruntime", "openvino": "openvino", "tensorrt": "tensorrt"}


def check(kind: Kind, precision: Precision) -> None:
    """Check, before any work is done, that this kind and precision can be exported here.

    Raises: InputError for a precision that the kind does not support, or for TensorRT if it can't run here;
    StateError for missing libraries.
    """
    if precision not in PRECISIONS[kind]:
        raise InputError(f"{kind} is exported as {' or '.join(PRECISIONS[kind])}, not as {precision}")
    if kind == "tensorrt" and (reason := tensorrt.missing()):
        raise InputError(f"{reason}: {tensorrt.HOW}")
    absent = [name for name in ("onnxscript", _LIBRARIES[kind]) if importlib.util.find_spec(name) is None]
    if absent:
        raise StateError(f"export needs {' and '.join(absent)}: pip install 'mmprod[export]'")


def build(encoder: Encoder, kind: Kind, precision: Precision, towers: Sequence[Tower], folder: Path) -> Spec:
    """Export towers into an empty folder, via ONNX. The result is unchecked: see `gate`.

    Raises: as `check`; InputError for a model that makes no vectors.
    """
    check(kind, precision)
    if not encoder.width:
        raise InputError("this model can only caption: it has no vectors to export")
    text = TextTower(encoder.model, encoder.tokenizer)
    modules: dict[Tower, ImageTower | TextTower] = {"image": ImageTower(encoder.model), "text": text}
    written: Precision = "fp32" if kind == "openvino" else precision  # OpenVINO converts by itself
    opset = max(onnx.write(modules[tower], written, folder / f"{tower}.onnx") for tower in towers)
    spec = Spec(
        kind,
        precision,
        tuple(towers),
        encoder.fingerprint,
        encoder.width,
        (encoder.geometry.height, encoder.geometry.width),
        text.shortest,
        text.longest,
        pad_of(encoder),
        opset,
        libraries(kind),
        files_of(folder),
    )
    for tower in towers:
        _finish(spec, tower, modules[tower].input_name, folder)
    try:
        raw.write(encoder, folder)
    except InputError as error:
        log.warning("this engine can't be served, it takes tokens and pixels only: %s", error)
    spec = replace(spec, files=files_of(folder))
    spec.write(folder)
    return spec


def _finish(spec: Spec, tower: Tower, input_name: str, folder: Path) -> None:
    """Convert a tower's ONNX file to the files that the kind needs."""
    path = folder / f"{tower}.onnx"
    if spec.kind == "openvino":
        openvino.write(path, spec.precision, folder / f"{tower}.xml")
        for part in folder.glob(f"{tower}.onnx*"):  # large towers have a separate weight file
            part.unlink()
    elif spec.kind == "tensorrt":
        plan = tensorrt.plan_path(folder, tower, spec.files[path.name])
        tensorrt.write(path, tensorrt.profile_of(spec, tower), input_name, plan)


def libraries(kind: Kind) -> dict[str, str]:
    """Versions of the libraries that write and run engines of a kind."""
    names = ("torch", "onnxscript", _LIBRARIES[kind])
    return {name: importlib.metadata.version(name) for name in names}
