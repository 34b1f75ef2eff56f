"""Examines processor, memory and GPU."""

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from mmprod.datasets import threads
from mmprod.datasets.lazy import lazy
from mmprod.doctor.finding import Finding, examined
from mmprod.storage.room import amount

torch = lazy("torch")  # a failing import becomes a finding
CPUINFO, MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
DRIVER = Path("/proc/driver/nvidia/version")
_SETS = {  # instruction sets that speed up encoders and indexes, by their flags: x86, ARM
    "flags": {
        "AVX2": {"avx2"},
        "AVX-512": {"avx512f"},
        "bf16": {"avx512_bf16", "amx_bf16"},
        "AMX": {"amx_tile"},
    },
    "Features": {"NEON": {"asimd"}, "SVE": {"sve"}, "bf16": {"bf16"}, "int8": {"i8mm"}},
}
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
_UNLIMITED = 1 << 60  # bytes; cgroups v1 write "no limit" as a number near 2⁶³


def processor(cpuinfo: str) -> Finding:
    """The processor's name."""
    name = _field(cpuinfo, "model name") or _field(cpuinfo, "Model") or "of unknown name"
    return Finding("processor", "ok", f"{name}, {platform.machine()}")


def instruction_sets(cpuinfo: str, environment: Mapping[str, str]) -> Finding:
    """Which relevant instruction sets exist, and which environment variables restrict their use."""
    kind, sets = next(((k, s) for k, s in _SETS.items() if _field(cpuinfo, k)), ("", {}))
    flags = set(_field(cpuinfo, kind).split())
    has = [name for name, told in sets.items() if told & flags]
    lacks = [name for name in sets if name not in has]
    text = "; ".join(
        [", ".join(has) or "none that matter", *(["without " + ", ".join(lacks)] if lacks else [])]
    )
    limits = [f"{name}={environment[name]}" for name in _LIMITS if environment.get(name)]
    if limits:
        cure = f"unset {' '.join(limit.partition('=')[0] for limit in limits)}"
        return Finding("instruction sets", "note", f"{text}; limited by {', '.join(limits)}", cure)
    return Finding("instruction sets", "ok", text)


def cores(machine: int, affinity: int, quota: float | None, usable: int) -> Finding:
    """How many cores the machine has, and how many this process may use."""
    why = [f"{affinity} by affinity"] if affinity < machine else []
    why += [f"{quota:g} by the quota of its control group"] if quota else []
    of_these = f" ({', '.join(why)})" if why else ""
    return Finding("cores", "ok", f"{machine}, of which this process may use {usable}{of_these}")


def memory(meminfo: str, limit: int | None, need: int) -> Finding:
    """Compare total, available and allowed memory with `need`, the bytes of the largest index."""
    total, available = (int(_field(meminfo, name).split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    allowed = min(total, limit or total)
    text = f"{amount(total)}, {amount(available)} available"
    text += f", {amount(allowed)} allowed by its control group" if allowed < total else ""
    text += f"; the largest index takes {amount(need)}" if need else ""
    cure = 'a smaller index: index.factory = "IVF4096,SQ8", or form = "half_width" of its profile'
    if need > allowed:
        return Finding("memory", "problem", text, cure)
    if need > available:
        return Finding("memory", "note", text, cure)
    return Finding("memory", "ok", text)


def memory_limit(root: Path, own: Path) -> int | None:
    """This process's memory limit in bytes by its control groups; arguments as in `threads.cpu_quota`."""
    found = []
    for group in threads.groups(root, own, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = (group / name).read_text().strip() if (group / name).is_file() else "max"
            found += [int(text)] if text.isdigit() else []
    return min((limit for limit in found if limit < _UNLIMITED), default=None)


def gpu() -> Finding:
    """GPUs that torch can use, and their driver."""
    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
        told = ", ".join(f"{d.name}, {amount(d.total_memory)}" for d in devices)
        return Finding("GPU", "ok", f"{told}; {_driver()}, CUDA {torch.version.cuda}")
    if DRIVER.exists() or shutil.which("nvidia-smi"):
        text = f"none that torch {torch.__version__} can use, though there is {_driver()}"
        return Finding("GPU", "note", text, "nvidia-smi; then a torch for that driver's CUDA")
    return Finding("GPU", "ok", "none: pictures and titles are encoded on the CPU")


def _driver() -> str:
    words = DRIVER.read_text().split() if DRIVER.exists() else []
    version = next((word for word in words if word.count(".") and word[0].isdigit()), "of unknown version")
    return f"NVIDIA driver {version}"


def machine_findings(need: int) -> list[Finding]:
    """All checks of this module; `need` as in `memory`."""
    cpuinfo = CPUINFO.read_text()
    quota = threads.cpu_quota(threads.CGROUPS, threads.OWN_CGROUPS)
    limit = memory_limit(threads.CGROUPS, threads.OWN_CGROUPS)
    return [
        processor(cpuinfo),
        instruction_sets(cpuinfo, os.environ),
        cores(os.cpu_count() or 1, len(os.sched_getaffinity(0)), quota, threads.cores()),
        memory(MEMINFO.read_text(), limit, need),
        examined("GPU", gpu),
    ]


def _field(text: str, name: str) -> str:
    """The first value of `name` in lines of the form ``name : value``; "" if there is none."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
