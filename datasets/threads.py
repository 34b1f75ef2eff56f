"""How many threads this process may use, said once to every numeric library.

Each of them would take all cores of the machine for itself: four processes side by side then run four times
as many threads as there are cores, and those of OpenMP spin while they wait for each other.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

SHARE = "OMP_NUM_THREADS"
"""The environment variable by which whoever starts processes tells each its share of the cores."""
_COUNTS = (  # read by each library when it is loaded; OMP_NUM_THREADS also by Arrow, torch and Faiss
    *(SHARE, "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "LANCE_CPU_THREADS"),
    "TOKIO_WORKER_THREADS",
)
CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_limit: int | None = None


def cores() -> int:
    """How many cores this process may use: by its affinity, and by the CPU quota of its control groups."""
    quota = cpu_quota(CGROUPS, OWN_CGROUPS)
    return max(1, min(len(os.sched_getaffinity(0)), int(quota) if quota else sys.maxsize))


def threads() -> int:
    """How many threads this process was limited to; without a limit, its share of the cores."""
    return _limit or share()


def share() -> int:
    """What `threads = "auto"` means: what OMP_NUM_THREADS says, else all cores; of torchrun's processes each
    has an equal part."""
    if beside := os.environ.get("LOCAL_WORLD_SIZE"):  # torchrun, which sets OMP_NUM_THREADS to 1 by itself
        return max(1, cores() // int(beside))
    told = os.environ.get(SHARE, "").partition(",")[0]  # a list is for nested regions
    return int(told) if told.isdigit() and int(told) else cores()


def limit(count: int) -> None:
    """Let every numeric library run on `count` threads in this process and those it starts.

    Those that are not loaded yet read it from the environment; torch, Faiss and Arrow are told if they are.
    OpenMP's threads sleep while they wait: spinning, they take the cores from those that work.
    """
    global _limit
    _limit = count
    os.environ |= dict.fromkeys(_COUNTS, str(count))
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}  # GNU's and LLVM's
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)
    if faiss := sys.modules.get("faiss"):
        faiss.omp_set_num_threads(count)
    if arrow := sys.modules.get("pyarrow"):
        arrow.set_cpu_count(count)


def cpu_quota(root: Path, own: Path) -> float | None:
    """Cores that control groups let this process use: the least of its own and those above; None: unlimited.

    `root` and `own` as in `groups`.
    """
    quotas = (_quota(group) for group in groups(root, own, "cpu"))
    return min((quota for quota in quotas if quota), default=None)


def groups(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in for "cpu" or "memory": its own and those above.

    `root` is where they are mounted, `own` tells which are this process's: of version 2, or 1.
    """
    for line in own.read_text().splitlines() if own.exists() else []:
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            top = root / controller if controllers else root
            group = top / path.strip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _quota(group: Path) -> float | None:
    """Of one control group: quota over period, both in microseconds."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # no such file: unlimited; "max"
        return None
