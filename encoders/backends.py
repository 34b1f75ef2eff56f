"""Backends: the ways to run one encoder on a machine. Which is the fastest that is close enough to torch?

A backend is named after runtime and precision, such as "torch-fp32" or "openvino-bf16". Vectors of different
backends differ by rounding, so they may be in one table if their cosine with torch's in fp32 is high enough.
Figures of backends hold for one kind of machine and one set of libraries. This module imports no torch.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mmprod.datasets.lazy import lazy
from mmprod.encoders.export.spec import FORM, Backend, Kind, Precision
from mmprod.storage.errors import InputError

torch = lazy("torch")  # asked about GPUs only
TORCH: Backend = "torch-fp32"
"""The backend that all others are compared with."""
WORTH = 1.1
"""Least speed-up over TORCH for which another backend's rounding is worth having."""
CPUINFO = Path("/proc/cpuinfo")
_LIBRARIES = ("torch", "open-clip-torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt")
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "DNNL_MAX_CPU_ISA")
_SETS = re.compile(r"avx|amx|fma|f16c|sse|sve|asimd|fphp|bf16|i8mm")  # flags that choose kernels; x86, ARM


@dataclass(frozen=True)
class Figures:
    """What a backend is worth on a machine: inputs a second, and its vectors against TORCH's.

    On a CPU, seconds are this process's time on one core; on a GPU, those of a clock. The cosines are the
    worst of any input. Vectors of one tower are alike in much; `…_centred` are the cosines without the mean
    of TORCH's vectors, so of what tells inputs apart.
    """

    pictures: float
    titles: float
    image_cosine: float
    text_cosine: float
    image_centred: float
    text_centred: float

    @property
    def products(self) -> float:
        """Products a second, of one picture and one title each."""
        return 1 / (1 / self.pictures + 1 / self.titles)

    @property
    def cosine(self) -> float:
        """The worst cosine of both towers."""
        return min(self.image_cosine, self.text_cosine)


def fastest(figures: Mapping[Backend, Figures], min_cosine: float) -> Backend:
    """The backend of most products a second among those whose cosines reach `min_cosine`.

    TORCH, which has to be one of them, unless another is at least WORTH times as fast.
    """
    passing = {name: found for name, found in figures.items() if found.cosine >= min_cosine or name == TORCH}
    best = max(passing, key=lambda name: passing[name].products)
    return best if passing[best].products >= WORTH * passing[TORCH].products else TORCH


def kind_of(backend: Backend) -> Kind | None:
    """The kind of its engine; None for torch."""
    kind = backend.partition("-")[0]
    return None if kind == "torch" else kind  # type: ignore[return-value]


def precision_of(backend: Backend) -> Precision:
    """The precision of its arithmetic."""
    return backend.partition("-")[2]  # type: ignore[return-value]


def machine(device: str) -> dict[str, str]:
    """What figures of backends hold for: the device as kernels see it, and the libraries' versions.

    Raises: InputError for a GPU that torch can't use.
    """
    return {**_device(device), **_versions(), "engines": str(FORM)}


def key_of(machine: Mapping[str, str]) -> str:
    """12 hex digits that change with any value of `machine`."""
    return hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()[:12]


def _device(device: str) -> dict[str, str]:
    if device.startswith("cuda"):
        try:
            return {"device": torch.cuda.get_device_name(device)}
        except (RuntimeError, AssertionError, ValueError) as error:
            raise InputError(f"encoder.device is {device!r}, which torch can't use here: {error}") from error
    text = CPUINFO.read_text() if CPUINFO.exists() else ""
    flags = {flag for flag in _field(text, "flags|Features").split() if _SETS.search(flag)}
    return {
        "device": device,
        "processor": _field(text, "model name|CPU part") or platform.processor() or platform.machine(),
        "instructions": " ".join(sorted(flags)),
        "limits": " ".join(f"{name}={os.environ[name]}" for name in _LIMITS if os.environ.get(name)),
    }


def _field(text: str, names: str) -> str:
    """The first value of a line ``name : value``; "" if there is none."""
    found = re.search(rf"^(?:{names})\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
