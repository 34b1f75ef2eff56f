"""Measuring backends (`mmprod.encoders.backends`) on this machine: which can be tried, and their figures."""

import importlib.util
import time
from collections.abc import Callable, Mapping
from statistics import median

import numpy as np

from mmprod.datasets.lazy import lazy
from mmprod.encoders.backends import TORCH, Figures
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.export import tensorrt
from mmprod.encoders.export.gate import Truth
from mmprod.encoders.export.spec import Backend
from mmprod.encoders.hardware import GAIN, fitting_engine, speeds
from mmprod.encoders.shapes import ROWS, ROWS_GPU

onnxruntime = lazy("onnxruntime")  # optional
_COMPARED = 48  # inputs whose vectors are compared; hard cases come first
_ROUNDS = 3
_HOPELESS = 0.8  # a backend of less than this speed of TORCH's in the first round is not measured again


def candidates(device: str) -> list[Backend]:
    """The backends that can run on a device and may be faster than torch in fp32, which is the first."""
    found: list[Backend] = [TORCH]
    measured = speeds(device)
    if measured.gain("amp_bf16") >= GAIN:
        found.append("torch-bf16")
    if device.startswith("cuda") and measured.gain("amp") >= GAIN:
        found.append("torch-fp16")
    if not _installed("onnxscript"):  # which writes engines
        return found
    if device == "cpu" and _installed("onnxruntime"):
        found.append("onnx-fp32")  # in fp16 it converts to fp32 and back
    if device == "cpu" and _installed("openvino"):
        half = fitting_engine("openvino", "auto", device) == "bf16"
        found.append("openvino-bf16" if half else "openvino-fp32")
    if device.startswith("cuda") and _installed("onnxruntime") and _cuda_provider():
        found += ["onnx-fp32", "onnx-fp16"]
    if device.startswith("cuda") and tensorrt.missing() is None:
        found += ["tensorrt-fp32", "tensorrt-fp16"]
    return found


def measured(encoders: Mapping[Backend, Encoder], truth: Truth, device: str) -> dict[Backend, Figures]:
    """Figures of opened backends, TORCH among them, on the inputs of `truth`: TORCH's vectors.

    Vectors of the first inputs are compared; that also warms up. Then the backends take turns, so that other
    work on the machine affects all of them, and the median round counts.
    """
    encoder, inputs = encoders[TORCH], truth.inputs
    pixels = [encoder.geometry.pixels(picture) for picture in inputs.pictures]
    tokens = encoder.tokens(inputs.titles)
    image = {n: _cosines(e.of_pixels(pixels[:_COMPARED]), truth.image) for n, e in encoders.items()}
    text = {n: _cosines(e.of_tokens(tokens[:_COMPARED]), truth.text) for n, e in encoders.items()}
    # of the catalogue: from the end, where no hard cases are
    rows = ROWS if device == "cpu" else ROWS_GPU
    some, many = pixels[-rows:], tokens[-4 * rows :]
    pictures = _rates({n: lambda e=e: e.of_pixels(some) for n, e in encoders.items()}, len(some), device)  # type: ignore[misc]
    titles = _rates({n: lambda e=e: e.of_tokens(many) for n, e in encoders.items()}, len(many), device)  # type: ignore[misc]
    return {
        n: Figures(pictures[n], titles[n], image[n][0], text[n][0], image[n][1], text[n][1]) for n in encoders
    }


def _rates(runs: Mapping[Backend, Callable[[], np.ndarray]], count: int, device: str) -> dict[Backend, float]:
    """Inputs a second of each backend, from the median of the rounds."""
    seconds: dict[Backend, list[float]] = {name: [] for name in runs}
    for _ in range(_ROUNDS):
        for name, run in runs.items():
            before = seconds[name]
            if not before or before[0] * _HOPELESS <= seconds[TORCH][0]:
                before.append(_seconds(run, device))
    return {name: count / max(median(found), 1e-9) for name, found in seconds.items()}


def _seconds(run: Callable[[], np.ndarray], device: str) -> float:
    """On a CPU the time of this process alone: a clock on the wall would also count what runs beside it."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    run()  # vectors arrive in memory, so that a GPU has finished
    return clock() - start


def _cosines(vectors: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """The worst cosine of rows with those of `true`, and that without the mean of `true`.

    A vector that is not finite or not of unit length counts as -1.
    """
    mean, true = true.mean(axis=0, dtype=np.float64), true[: len(vectors)]
    usable = np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3  # NaN is not
    plain = np.einsum("nd,nd->n", vectors, true, dtype=np.float64)
    a, b = np.nan_to_num(vectors) - mean, true - mean
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    centred = np.einsum("nd,nd->n", a, b) / np.maximum(lengths, 1e-12)
    return tuple(float(np.where(usable, found, -1).min()) for found in (plain, centred))  # type: ignore[return-value]


def _cuda_provider() -> bool:
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
