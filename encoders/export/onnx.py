"""ONNX files: written by torch's exporter, run by ONNX Runtime."""

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmprod.datasets.lazy import lazy
from mmprod.encoders.export.spec import Precision
from mmprod.storage.errors import StateError

if TYPE_CHECKING:
    import torch

    from mmprod.encoders.export.modules import ImageTower, TextTower
else:
    torch = lazy("torch")  # running an engine does not need it

onnxruntime = lazy("onnxruntime")  # optional
log = logging.getLogger(__name__)
LARGEST = 1_900_000_000  # bytes of weights kept in the file: protobuf's limit is 2 GiB; else a second file
OUTPUT = "vectors"
Runner = Callable[[np.ndarray], np.ndarray]
"""An opened tower: its input in, float32 [n, d] out."""


def write(tower: "ImageTower | TextTower", precision: Precision, path: Path) -> int:
    """Export one tower, weights and arithmetic in fp32 or fp16; returns the opset."""
    tower = copy.deepcopy(tower).cpu()  # leaves the encoder's own tower unchanged
    if precision == "fp16":
        tower = tower.half()
    weights = sum(tensor.nbytes for tensor in tower.state_dict().values())
    for name in ("onnxscript", "torch.onnx"):  # they log every constant that they do not fold
        logging.getLogger(name).setLevel(logging.ERROR)
    program = torch.onnx.export(
        tower.eval(),
        (tower.example(),),
        dynamo=True,
        dynamic_shapes=(tower.dynamic(),),
        input_names=[tower.input_name],
        output_names=[OUTPUT],
        verbose=False,
    )
    if program is None:
        raise StateError(f"torch gave no ONNX program for {path.name}")
    program.save(str(path), external_data=weights > LARGEST)
    return int(program.model.opset_imports[""])


def open_runner(path: Path, input_name: str, precision: Precision, device: str, threads: int) -> Runner:
    """Load an ONNX file, to run on `threads` threads that sleep while waiting. Raises: StateError."""
    try:
        options, raised = onnxruntime.SessionOptions(), onnxruntime.capi.onnxruntime_pybind11_state
    except ModuleNotFoundError as error:
        raise StateError(f"{path} needs ONNX Runtime: pip install 'mmprod[export]'") from error
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if precision == "fp16":  # the further fusions of ONNX Runtime 1.31 crash on fp16 text towers
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    failures = (raised.Fail, raised.InvalidArgument, raised.InvalidGraph, raised.InvalidProtobuf)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=_providers(device))
    except (*failures, raised.NotImplemented) as error:
        raise StateError(f"{path} is no usable ONNX file: {error}") from error
    check_input(path, session.get_inputs()[0].name, input_name)

    def run(batch: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(session.run(None, {input_name: batch})[0])
        except (*failures, raised.RuntimeException) as error:
            raise StateError(f"{path} fails on a batch of shape {batch.shape}: {error}") from error

    return run


def check_input(path: Path, found: str, wanted: str) -> None:
    """Raise StateError if a file holds another tower than its name says."""
    if found != wanted:
        raise StateError(f"{path} takes {found!r}, want {wanted!r}; export the engine again")


def _providers(device: str) -> list[str]:
    wanted = "CUDAExecutionProvider"
    if device.startswith("cuda"):
        if wanted in onnxruntime.get_available_providers():
            return [wanted, "CPUExecutionProvider"]
        log.warning("this ONNX Runtime has no CUDA (that is onnxruntime-gpu): running on the CPU")
    return ["CPUExecutionProvider"]
