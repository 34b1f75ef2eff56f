"""Choice of the fastest precision on this machine, by measurement.

The processor's name is not enough: without hardware support torch emulates bfloat16 (12 times slower than
fp32), with it bfloat16 takes half the time, and a variable such as ONEDNN_MAX_CPU_ISA can disable it.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from mmprod.encoders.export import spec as export
from mmprod.encoders.export.spec import Kind

log = logging.getLogger(__name__)
Precision = Literal["fp32", "amp_bf16", "amp"]
"""Precision of training: fp32, mostly bfloat16, or float16 with a gradient scaler."""
DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "amp_bf16": torch.bfloat16,
    "amp": torch.float16,
}
GAIN = 1.15  # least speed-up over fp32 for which half precision is worth its rounding errors
_ROUNDS = 5
_HOPELESS = 4  # a precision this many times slower than fp32 at the first try is not measured again
_ENGINES: dict[Kind, tuple[export.Precision, Precision]] = {  # an engine's half precision, and torch's
    "onnx": ("fp16", "amp"),
    "openvino": ("bf16", "amp_bf16"),
    "tensorrt": ("fp16", "amp"),
}
_SIDE, _CHANNELS, _PICTURES = 512, 32, 8


@dataclass(frozen=True)
class Speeds:
    """Seconds for a small matrix product and for a small convolution on a device, by precision."""

    device: str
    product: Mapping[Precision, float]
    convolution: Mapping[Precision, float]

    def gain(self, precision: Precision) -> float:
        """Speed relative to fp32: the geometric mean over both operations."""
        gains = (times["fp32"] / times[precision] for times in (self.product, self.convolution))
        first, second = gains
        return float((first * second) ** 0.5)

    @property
    def best(self) -> Precision:
        """bfloat16 if faster than fp32, else float16 (which needs a gradient scaler) if faster, else fp32."""
        halves: tuple[Precision, ...] = ("amp_bf16", "amp")
        return next((half for half in halves if self.gain(half) >= GAIN), "fp32")

    def told(self, precision: Precision) -> str:
        """A message with both figures of a precision and those of fp32."""
        pairs = (("product", self.product), ("convolution", self.convolution))
        figures = (f"{what} {t[precision] * 1e3:.3g} ms, in fp32 {t['fp32'] * 1e3:.3g}" for what, t in pairs)
        return f"{precision} is {self.gain(precision):.2g} times as fast as fp32 here ({'; '.join(figures)})"


@cache
def speeds(device: str = "cpu") -> Speeds:
    """Measure a device once; takes a second if half precision is emulated, else a few hundredths of one."""
    generator = torch.Generator().manual_seed(0)
    square = torch.rand(_SIDE, _SIDE, generator=generator)
    pictures = torch.rand(_PICTURES, _CHANNELS, 32, 32, generator=generator)
    kernel = torch.rand(_CHANNELS, _CHANNELS, 3, 3, generator=generator)
    return Speeds(
        device,
        _measure(device, torch.matmul, square, square.T.contiguous()),
        _measure(device, lambda x, w: functional.conv2d(x, w, padding=1), pictures, kernel),
    )


@cache
def fitting(precision: Precision | Literal["auto"], device: str) -> Precision:
    """The precision to compute in: the fastest one for "auto", else the given one.

    If the given one is slower than fp32 on this device, a warning with both figures is logged once.
    """
    if precision == "auto":
        return speeds(device).best
    if precision != "fp32" and speeds(device).gain(precision) < 1:
        log.warning('%s; leave out the precision, or say "auto"', speeds(device).told(precision))
    return precision


def fitting_engine(
    kind: Kind, precision: export.Precision | Literal["auto"], device: str
) -> export.Precision:
    """The precision of an engine: for "auto" half precision if its runtime is faster with it here, else fp32.

    ONNX Runtime is faster with it only on a GPU. For a given one slower than fp32, a warning is logged once.
    """
    half, like = _ENGINES[kind]
    runs_on = "cpu" if kind == "openvino" else device
    if precision == "auto":
        faster = not (kind == "onnx" and runs_on == "cpu") and speeds(runs_on).gain(like) >= GAIN
        return half if faster else "fp32"
    if kind == "openvino" and precision == half:
        fitting(like, runs_on)
    return precision


def _measure(
    device: str, operation: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor
) -> dict[Precision, float]:
    """The shortest time by precision; rounds alternate between precisions so that other load affects all.

    On a CPU it is the time of this process alone: beside other work, a clock on the wall would now and then
    choose another precision, and with it another run.
    """
    operands = {name: (left.to(device, kind), right.to(device, kind)) for name, kind in DTYPES.items()}
    found = {name: _seconds(device, operation, *pair) for name, pair in operands.items()}
    for _ in range(_ROUNDS):
        for name, pair in operands.items():
            if found[name] < _HOPELESS * found["fp32"] or name == "fp32":
                found[name] = min(found[name], _seconds(device, operation, *pair))
    return found


def _seconds(
    device: str, operation: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor
) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    with torch.inference_mode():
        operation(left, right)
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return clock() - start
