"""What `mmprod doctor` reads of the machine and its libraries; the kernel's files, of other machines too."""

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mmprod.doctor import libraries, machine

INTEL = "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu sse2 avx2 avx512f avx512_bf16 amx_tile amx_bf16\n"
AMD = "processor\t: 0\nmodel name\t: EPYC\nflags\t\t: fpu sse2 avx2 vaes\n"
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd bf16 i8mm\nCPU part\t: 0xd40\n"


@pytest.mark.parametrize(
    ("cpuinfo", "text"),
    [
        (INTEL, "AVX2, AVX-512, bf16, AMX"),
        (AMD, "AVX2; without AVX-512, bf16, AMX"),
        (ARM, "NEON, bf16, int8; without SVE"),
        ("cpu\t: POWER9\n", "none that matter"),
    ],
)
def test_instruction_sets_by_the_kernels_flags(cpuinfo: str, text: str) -> None:
    found = machine.instruction_sets(cpuinfo, {})
    assert (found.level, found.text) == ("ok", text)


def test_variables_that_keep_libraries_from_them_are_a_note() -> None:
    found = machine.instruction_sets(INTEL, {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"})
    assert found.level == "note"
    assert "limited by ONEDNN_MAX_CPU_ISA=AVX2, ATEN_CPU_CAPABILITY=avx2" in found.text
    assert found.cure == "unset ONEDNN_MAX_CPU_ISA ATEN_CPU_CAPABILITY"


def test_names_of_processors() -> None:
    assert machine.processor(INTEL).text.startswith("Xeon, ")
    assert machine.processor(ARM).text.startswith("of unknown name, ")


def test_cores_say_what_keeps_a_process_from_all() -> None:
    assert machine.cores(64, 64, None, 64).text == "64, of which this process may use 64"
    why = "8 by affinity, 2.5 by the quota of its control group"
    assert machine.cores(64, 8, 2.5, 2).text == f"64, of which this process may use 2 ({why})"


MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"


@pytest.mark.parametrize(
    ("limit", "need", "level"),
    [
        (None, 0, "ok"),
        (None, 8_000_000_000, "ok"),
        (None, 9_000_000_000, "note"),  # where others have gone it will fit
        (None, 17_000_000_000, "problem"),
        (4_000_000_000, 5_000_000_000, "problem"),
        (400_000_000_000, 5_000_000_000, "ok"),  # more than there is
    ],
)
def test_an_index_that_does_not_fit_into_memory_is_a_problem(limit, need, level) -> None:
    found = machine.memory(MEMINFO, limit, need)
    assert (found.level, bool(found.cure)) == (level, level != "ok")


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/box\n", {"box/memory.max": "1000000"}, 1_000_000),
        ("0::/pod/box\n", {"pod/box/memory.max": "max", "pod/memory.max": "3000000"}, 3_000_000),
        ("0::/box\n", {"box/memory.max": "max"}, None),
        ("5:memory:/box\n0::/\n", {"memory/box/memory.limit_in_bytes": "2000000"}, 2_000_000),
        ("5:memory:/box\n0::/\n", {"memory/memory.limit_in_bytes": "2000000"}, 2_000_000),  # in a container
        ("5:memory:/box\n", {"memory/box/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("5:cpu:/box\n", {"memory/box/memory.limit_in_bytes": "2000000"}, None),
    ],
)
def test_memory_limits_of_control_groups(tmp_path: Path, own: str, files: dict[str, str], limit) -> None:
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (tmp_path / "own").write_text(own)
    assert machine.memory_limit(tmp_path / "cgroup", tmp_path / "own") == limit


def test_versions_that_are_missing_or_too_old_are_named() -> None:
    wanted = [Requirement(text) for text in ("numpy>=1", "numpy>=999", "no-such-package>=2")]
    found = libraries.packages("train", wanted, "note")
    assert found.level == "note"
    assert "numpy>=999 (" in found.text
    assert "no-such-package>=2 (missing)" in found.text
    assert "numpy>=1 " not in found.text
    assert found.cure == 'pip install "mmprod[train]"'


def test_what_is_installed_here_is_what_is_wanted() -> None:
    told = {finding.subject: finding for finding in libraries.versions()}
    assert list(told) == ["python", "needed", "train", "export", "serve", "ray", "delta", "iceberg", "Faiss"]
    assert told["needed"].level == "ok"
    assert "torch 2" in told["needed"].text
    assert sys.version.split()[0] in told["python"].text


def test_two_packages_of_faiss_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("faiss_cpu", "faiss_gpu"):
        folder = tmp_path / f"{name}-1.9.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.9.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert libraries.faiss().level == "problem"


MAPS = """7f00-7f01 r-xp 00000000 fe:00 11 /env/lib/python3.11/site-packages/torch/lib/libgomp.so.1
7f01-7f02 r--p 00000000 fe:00 11 /env/lib/python3.11/site-packages/torch/lib/libgomp.so.1
7f02-7f03 r-xp 00000000 fe:00 12 /env/lib/python3.11/site-packages/faiss_gpu.libs/libgomp-e985.so.1.0.0
7f03-7f04 r-xp 00000000 fe:00 13 /usr/lib/libopenblas.so.0
7f04-7f05 r-xp 00000000 fe:00 14 /usr/lib/libompi_not_one.so
7f05-7f06 rw-p 00000000 00:00 0
"""


def test_runtimes_are_told_with_the_package_that_brought_them() -> None:
    openmp, blas = libraries.runtimes(MAPS)
    assert openmp.text == "libgomp-e985.so.1.0.0 (of faiss_gpu.libs), libgomp.so.1 (of torch)"
    assert blas.text == "libopenblas.so.0 (of the system)"
    assert [finding.text for finding in libraries.runtimes("")] == ["none loaded"] * 2


def test_runtimes_of_this_process_are_seen() -> None:
    import faiss  # noqa: F401

    openmp, _ = libraries.runtimes(libraries.MAPS.read_text())
    assert "libgomp" in openmp.text or "libomp" in openmp.text or "libiomp5" in openmp.text
