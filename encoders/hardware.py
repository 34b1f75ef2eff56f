"""Which precision this machine computes fastest in, found by trying it.

Names of processors don't tell: torch emulates bfloat16 where the processor has none (12 times slower than
fp32), on others it halves the time, and a variable such as ONEDNN_MAX_CPU_ISA turns one kind into the other.
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
"""What training computes in: fp32, or mostly bfloat16, or float16 with a gradient scaler."""
DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "amp_bf16": torch.bfloat16,
    "amp": torch.float16,
}
GAIN = 1.15  # times as fast as fp32 that half precision has to be: less is not worth its rounding
_ROUNDS = 5
_HOPELESS = 4  # times as slow as fp32 at the first try, so that no second one is made
_ENGINES: dict[Kind, tuple[export.Precision, Precision]] = {  # an engine's half precision, and torch's
    "onnx": ("fp16", "amp"),
    "openvino": ("bf16", "amp_bf16"),
    "tensorrt": ("fp16", "amp"),
}
_SIDE, _CHANNELS, _PICTURES = 512, 32, 8


@dataclass(frozen=True)
class Speeds:
    """Seconds that a small matrix product and a small convolution take on a device, by precision."""

    device: str
    product: Mapping[Precision, float]
    convolution: Mapping[Precision, float]

    def gain(self, precision: Precision) -> float:
        """How many times as fast as fp32, both operations counting alike (geometric mean)."""
        gains = (times["fp32"] / times[precision] for times in (self.product, self.convolution))
        first, second = gains
        return float((first * second) ** 0.5)

    @property
    def best(self) -> Precision:
        """bfloat16 where it is faster than fp32, else float16 where that is: it needs a gradient scaler."""
        halves: tuple[Precision, ...] = ("amp_bf16", "amp")
        return next((half for half in halves if self.gain(half) >= GAIN), "fp32")

    def told(self, precision: Precision) -> str:
        """Both figures of a precision beside those of fp32, for people."""
        pairs = (("product", self.product), ("convolution", self.convolution))
        figures = (f"{what} {t[precision] * 1e3:.3g} ms, in fp32 {t['fp32'] * 1e3:.3g}" for what, t in pairs)
        return f"{precision} is {self.gain(precision):.2g} times as fast as fp32 here ({'; '.join(figures)})"


@cache
def speeds(device: str = "cpu") -> Speeds:
    """Measure a device once; takes a second where half precision is emulated, else a few hundredths."""
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

    One that is slower than fp32 on this device is warned of, once, with both figures.
    """
    if precision == "auto":
        return speeds(device).best
    if precision != "fp32" and speeds(device).gain(precision) < 1:
        log.warning('%s; leave out the precision, or say "auto"', speeds(device).told(precision))
    return precision


def fitting_engine(
    kind: Kind, precision: export.Precision | Literal["auto"], device: str
) -> export.Precision:
    """The precision to export an engine in: for "auto" half where what runs it computes faster in that here.

    ONNX Runtime does so on a GPU only. One that is slower than fp32 is warned of, once, with both figures.
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
    """The shortest of some rounds by precision, in turns, so that other work falls on all of them."""
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
    start = time.perf_counter()
    with torch.inference_mode():
        operation(left, right)
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
