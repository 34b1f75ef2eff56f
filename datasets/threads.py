"""The number of threads this process may use, set once for every numeric library.

By default each library uses all cores of the machine: four processes side by side then run four times as many
threads as there are cores, and OpenMP's threads spin while they wait for each other.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

SHARE = "OMP_NUM_THREADS"
"""The environment variable that gives a process its share of the cores; set by whatever starts processes."""
_COUNTS = (  # read by each library when it is loaded; OMP_NUM_THREADS also by Arrow, torch and Faiss
    *(SHARE, "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "LANCE_CPU_THREADS"),
    "TOKIO_WORKER_THREADS",
)
CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_limit: int | None = None


def cores() -> int:
    """Number of cores this process may use, by its affinity and the CPU quota of its control groups."""
    quota = cpu_quota(CGROUPS, OWN_CGROUPS)
    return max(1, min(len(os.sched_getaffinity(0)), int(quota) if quota else sys.maxsize))


def threads() -> int:
    """The thread limit of this process; without a limit, its share of the cores."""
    return _limit or share()


def share() -> int:
    """The value of `threads = "auto"`: OMP_NUM_THREADS if set, else all cores.

    Under torchrun, an equal part of the cores for each process on the node.
    """
    if beside := os.environ.get("LOCAL_WORLD_SIZE"):  # set by torchrun, which also sets OMP_NUM_THREADS to 1
        return max(1, cores() // int(beside))
    told = os.environ.get(SHARE, "").partition(",")[0]  # a list is for nested regions
    return int(told) if told.isdigit() and int(told) else cores()


def limit(count: int) -> None:
    """Make every numeric library use `count` threads, in this process and its child processes.

    Libraries that are not loaded yet read the environment; torch, Faiss and Arrow are set directly if loaded.
    Waiting OpenMP threads are made to sleep: spinning, they would take the cores from working threads.
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
    """The CPU quota of this process in cores: the least of its control group and the parents; None: no quota.

    `root` and `own` as in `groups`.
    """
    quotas = (_quota(group) for group in groups(root, own, "cpu"))
    return min((quota for quota in quotas if quota), default=None)


def groups(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's control group for controller "cpu" or "memory", and of its parents.

    `root` is where control groups are mounted; `own` is the file that names this process's. Supports control
    groups of version 2 and 1.
    """
    for line in own.read_text().splitlines() if own.exists() else []:
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            top = root / controller if controllers else root
            group = top / path.strip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _quota(group: Path) -> float | None:
    """Quota of one control group in cores: quota over period, both in microseconds."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # no such file: unlimited; "max"
        return None
