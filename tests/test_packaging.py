"""The folders, the packages that pyproject names, and who may import whom."""

import ast
import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS = {
    "mmprod": "mmprod",
    **{f"mmprod.{n}": n for n in ("datasets", "encoders", "eval", "retrieval", "serving", "storage")},
}
BELOW = {  # who may import whom, beside itself
    "storage": set(),
    "datasets": {"storage"},
    "encoders": {"datasets", "storage"},
    "retrieval": {"datasets", "storage"},
    "eval": {"datasets", "storage"},
    "serving": {"datasets", "encoders", "retrieval", "storage"},
    "mmprod": {"datasets", "encoders", "retrieval", "eval", "serving", "storage"},
}


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def test_every_package_folder_is_named_in_pyproject() -> None:
    found = set()
    for package, folder in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join((package, *parts)))
    assert found == set(PYPROJECT["packages"])


def test_package_folders_are_mapped() -> None:
    assert PYPROJECT["package-dir"] == FOLDERS
    for package in PYPROJECT["packages"]:
        assert importlib.util.find_spec(package) is not None


@pytest.mark.parametrize("folder", BELOW)
def test_imports_point_down(folder: str) -> None:
    files = python_files(folder)
    assert files
    for path in files:
        for name in imported(path):
            if not name.startswith("mmprod"):
                continue
            second = [*name.split("."), ""][1]
            target = second if second in BELOW and second != "mmprod" else "mmprod"
            assert target == folder or target in BELOW[folder], f"{path.relative_to(ROOT)} imports {name}"


def test_bare_datasets_is_not_ours() -> None:
    """Installing this project must leave the name `datasets` to Hugging Face's package."""
    code = "import importlib.util as u; s = u.find_spec('datasets'); print(s.origin if s else None)"
    found = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert not found.startswith(str(ROOT / "datasets"))


def test_no_file_is_longer_than_350_lines() -> None:
    for folder in (*BELOW, "tests", "benchmarks", "triton_models"):
        for path in python_files(folder):
            assert len(path.read_text().splitlines()) <= 350, path
