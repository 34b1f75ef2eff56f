"""OpenVINO models: converted from the ONNX file, run on the CPU."""

import importlib
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mmprod.encoders.export.onnx import Runner, check_input
from mmprod.encoders.export.spec import Precision
from mmprod.storage.errors import StateError

# The arithmetic's precision, always set explicitly: by default OpenVINO uses bf16 if the CPU supports it.
_ARITHMETIC = {"fp32": "f32", "fp16": "f32", "bf16": "bf16"}


def write(onnx_path: Path, precision: Precision, path: Path) -> None:
    """Convert an fp32 ONNX file to `path` (.xml, with its .bin); fp16 halves the stored weights."""
    openvino = _library()
    model = _core().read_model(onnx_path)  # convert_model would send telemetry
    openvino.save_model(model, path, compress_to_fp16=precision == "fp16")


def open_runner(path: Path, input_name: str, precision: Precision, threads: int) -> Runner:
    """Load a model and compile it for `threads` threads. Raises: StateError."""
    try:
        core = _core()
    except ModuleNotFoundError as error:
        raise StateError(f"{path} needs OpenVINO: pip install 'mmprod[export]'") from error
    options = {"INFERENCE_PRECISION_HINT": _ARITHMETIC[precision], "INFERENCE_NUM_THREADS": threads}
    try:
        model = core.compile_model(path, "CPU", options)
    except RuntimeError as error:
        raise StateError(f"{path} is no usable OpenVINO model: {error}") from error
    check_input(path, model.input(0).any_name, input_name)

    def run(batch: np.ndarray) -> np.ndarray:
        try:
            return np.array(model(batch)[0])  # a copy: the next call overwrites the memory
        except RuntimeError as error:
            raise StateError(f"{path} fails on a batch of shape {batch.shape}: {error}") from error

    return run


@cache
def _core() -> Any:
    """The only Core of this process; it is never freed.

    A Core installs its own signal stack and, when freed, restores the previous one. If two Cores are freed in
    the order in which they were made, the restored stack no longer exists: the next signal that Python
    handles (Ctrl-C, the end of a data loader's worker) kills the process.
    """
    return _library().Core()


def _library() -> Any:
    """Import the library with CI set, as in continuous integration.

    Otherwise it forks the process on import to send telemetry, and a fork in a process with threads may hang.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        return importlib.import_module("openvino")
    finally:
        os.environ.pop("CI") if before is None else os.environ.update(CI=before)
