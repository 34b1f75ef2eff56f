"""How many threads a process takes: by quota, affinity and what it was told; and that every library obeys."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from mmprod.datasets import threads

HERE = len(os.sched_getaffinity(0))
FREE = {name: value for name, value in os.environ.items() if "THREADS" not in name}  # nobody's share


def told(code: str, *words: str, **variables: str) -> list[str]:
    """What a snippet prints in a process of its own, word by word, without a share of the cores."""
    line, environment = [sys.executable, "-c", code, *words], {**FREE, **variables}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def groups(folder: Path, own: str, files: Mapping[str, str]) -> tuple[Path, Path]:
    """A folder of control groups, and the file that tells which are this process's."""
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (folder / "own").write_text(own)
    return folder / "cgroup", folder / "own"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"pod/box/cpu.max": "150000 100000"}, 1.5),
        ({"pod/box/cpu.max": "max 100000"}, None),
        ({"pod/box/cpu.max": "max 100000", "pod/cpu.max": "50000 100000"}, 0.5),
        ({"pod/box/cpu.max": "400000 100000", "pod/cpu.max": "300000 100000"}, 3.0),
        ({"cpu.max": "200000 100000"}, 2.0),  # a container sees its own group as the topmost one
        ({"pod/other/cpu.max": "100000 100000"}, None),
        ({"pod/box/cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_version_2_is_the_least_on_the_way_up(tmp_path, files, cores) -> None:
    assert threads.cpu_quota(*groups(tmp_path, "0::/pod/box\n", files)) == cores


@pytest.mark.parametrize(
    ("quota", "cores"),
    [({"pod/box": 250000}, 2.5), ({"pod/box": -1}, None), ({"pod/box": -1, "pod": 100000}, 1)],
)
def test_the_quota_of_version_1_stands_in_two_files(tmp_path, quota, cores) -> None:
    files = {f"cpu/{group}/cpu.cfs_quota_us": str(value) for group, value in quota.items()}
    files |= {f"cpu/{group}/cpu.cfs_period_us": "100000" for group in quota}
    own = "4:memory:/elsewhere\n3:cpuset:/pod/box\n2:cpu,cpuacct:/pod/box\n0::/\n"
    assert threads.cpu_quota(*groups(tmp_path, own, files)) == cores


def test_where_nothing_tells_of_groups_there_is_no_quota(tmp_path) -> None:
    assert threads.cpu_quota(tmp_path, tmp_path / "own") is None


def test_a_quota_of_one_and_a_half_cores_is_one_thread(tmp_path, monkeypatch) -> None:
    """Two would take turns."""
    root, own = groups(tmp_path, "0::/box\n", {"box/cpu.max": "150000 100000"})
    monkeypatch.setattr(threads, "CGROUPS", root)
    monkeypatch.setattr(threads, "OWN_CGROUPS", own)
    assert threads.cores() == 1
    (root / "box" / "cpu.max").write_text("30000 100000")
    assert threads.cores() == 1
    (root / "box" / "cpu.max").write_text("max 100000")
    assert threads.cores() == HERE


def test_a_process_bound_to_one_core_takes_one_thread() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from mmprod.datasets import threads; print(threads.cores(), threads.share(), threads.threads())"
    assert told(code) == ["1", "1", "1"]


SHARE = "from mmprod.config import load; print(load().config.thread_count)"


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, threads.cores()),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "5,2"}, 5),  # the second is for nested regions
        ({"OMP_NUM_THREADS": "0"}, threads.cores()),
        ({"OMP_NUM_THREADS": "many"}, threads.cores()),
        (
            {"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "1"},
            threads.cores(),
        ),  # torchrun sets both
        ({"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "64"}, max(1, threads.cores() // 64)),
        ({"OMP_NUM_THREADS": "3", "MMPROD_THREADS": "7"}, 7),
    ],
)
def test_auto_is_the_share_that_the_process_was_given(variables, count, tmp_path) -> None:
    assert told(f"import os; os.chdir({str(tmp_path)!r}); {SHARE}", **variables) == [str(count)]


LIBRARIES = "import faiss, pyarrow, torch; faiss, pyarrow, torch\n"
LIMIT = "from mmprod.datasets import threads; threads.limit(1)\n"  # MKL takes no more than there are cores
COUNTS = "print(torch.get_num_threads(), faiss.omp_get_max_threads(), pyarrow.cpu_count(), flush=True)\n"


@pytest.mark.slow
def test_a_limit_holds_for_libraries_loaded_later_and_in_children() -> None:
    """And their threads sleep while they wait."""
    child = LIBRARIES + COUNTS
    child += "import os; print(os.environ['OMP_WAIT_POLICY'], os.environ['KMP_BLOCKTIME'])\n"
    child += "from mmprod.datasets import threads; print(threads.share())"
    parent = LIMIT + LIBRARIES + COUNTS
    parent += "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    assert told(parent, child) == ["1", "1", "1", *["1", "1", "1", "PASSIVE", "0", "1"]]


@pytest.mark.slow
def test_a_limit_reaches_libraries_that_are_loaded_already_and_the_latest_holds() -> None:
    code = LIBRARIES + LIMIT + COUNTS + "threads.limit(3)\n" + COUNTS
    code += "print(threads.threads(), threads.share())"
    assert told(code) == ["1", "1", "1", "3", "3", "3", "3", "3"]
