"""Examines Python packages: their versions against the requirements, and loaded OpenMP and BLAS libraries."""

import importlib.metadata
import platform
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement

from mmprod.doctor.finding import Finding, Level

MAPS = Path("/proc/self/maps")
EXTRAS = ("train", "export", "serve", "ray", "delta", "iceberg")
_RUNTIMES = {
    "OpenMP": re.compile(r"lib(gomp|iomp5|omp)\b[^/]*\.so"),
    "BLAS": re.compile(r"lib(openblas|scipy_openblas|mkl_rt|blis|blas)[^/]*\.so"),
}


def versions() -> list[Finding]:
    """Versions of Python, of mmprod's requirements and of those of its extras."""
    own = importlib.metadata.version("mmprod")
    wanted = [Requirement(text) for text in importlib.metadata.requires("mmprod") or ()]
    needed = [requirement for requirement in wanted if requirement.marker is None]
    findings = [Finding("python", "ok", f"{platform.python_version()}, mmprod {own}")]
    findings.append(packages("needed", needed, "problem"))
    for extra in EXTRAS:
        some = [r for r in wanted if r.marker and r.marker.evaluate({"extra": extra})]
        findings.append(packages(extra, some, "note"))
    return [*findings, faiss()]


def packages(extra: str, wanted: Sequence[Requirement], level: Level) -> Finding:
    """Versions of the packages of an extra; missing or unfitting ones give a finding of `level`."""
    found = {r.name: _version(r.name) for r in wanted}
    wrong = [f"{r} ({found[r.name] or 'missing'})" for r in wanted if not _fits(r, found[r.name])]
    name = "mmprod" if extra == "needed" else f"mmprod[{extra}]"
    if wrong:
        return Finding(extra, level, f"wanted {_brief(wrong)}", f'pip install "{name}"')
    return Finding(extra, "ok", ", ".join(f"{name} {version}" for name, version in found.items()))


def faiss() -> Finding:
    """Whether both packages of Faiss are installed: they write the same files."""
    found = [f"{name} {version}" for name in ("faiss-cpu", "faiss-gpu") if (version := _version(name))]
    if len(found) > 1:
        text = f"{' and '.join(found)} write the same files: whichever came last works, or neither"
        cure = "pip uninstall faiss-cpu; pip install --force-reinstall faiss-gpu"
        return Finding("Faiss", "problem", text, cure)
    return Finding("Faiss", "ok", ", ".join(found) or "missing")


def runtimes(maps: str) -> list[Finding]:
    """The OpenMP and BLAS libraries loaded in a process; `maps`: the content of /proc/self/maps.

    Two libraries of a kind are not an error by themselves: wheels bring their own.
    """
    return [Finding(kind, "ok", _told(kind, maps)) for kind in _RUNTIMES]


def _told(kind: str, maps: str) -> str:
    by: dict[str, set[str]] = defaultdict(set)
    for package, name in _loaded(maps):
        if _RUNTIMES[kind].match(name):
            by[name].add(package)
    return ", ".join(f"{name} (of {', '.join(sorted(by[name]))})" for name in sorted(by)) or "none loaded"


def _loaded(maps: str) -> Iterator[tuple[str, str]]:
    """(package, file name) of each mapped library; the package of system libraries is "the system"."""
    for line in maps.splitlines():
        path = Path(line.partition("/")[2])
        if ".so" in path.name:
            _, _, inside = str(path).partition("site-packages/")
            yield (inside.partition("/")[0] if inside else "the system"), path.name


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _fits(wanted: Requirement, version: str | None) -> bool:
    return version is not None and wanted.specifier.contains(version, prereleases=True)


def _brief(names: Sequence[str], most: int = 4) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
