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
FUNCTIONS, IMPORTS = (ast.FunctionDef, ast.AsyncFunctionDef), (ast.Import, ast.ImportFrom)
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


Imports = list[ast.Import | ast.ImportFrom]


def imports_in_functions(path: Path) -> list[Imports]:
    """The import statements inside of functions, those of adjacent lines together.

    Without those of a module's `__getattr__`, which is there to import.
    """
    nodes = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, FUNCTIONS))
    functions = (node for node in nodes if node.name != "__getattr__")
    found = {n.lineno: n for each in functions for n in ast.walk(each) if isinstance(n, IMPORTS)}
    blocks: list[Imports] = []
    for _, node in sorted(found.items()):
        if blocks and node.lineno == (blocks[-1][-1].end_lineno or 0) + 1:
            blocks[-1].append(node)
        else:
            blocks.append([node])
    return blocks


def test_imports_stand_at_the_top() -> None:
    """`datasets/lazy.py` imports slow and optional libraries at their first use. What is left says why."""
    count = 0
    for path in sorted(path for folder in BELOW for path in python_files(folder)):
        if path.parent != ROOT / "mmprod" / "cli":
            lines = path.read_text().splitlines()
            for block in imports_in_functions(path):
                count += len(block)
                first = block[0].lineno
                assert "  # " in lines[first - 1], f"{path}:{first}: say why this import is not at the top"
    assert count <= 25


def test_commands_import_what_they_need_in_their_body() -> None:
    """Not in a branch or a loop of it, where nobody looks for it."""
    for path in python_files("mmprod/cli"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, FUNCTIONS):
                nested = [n.lineno for n in ast.walk(node) if isinstance(n, IMPORTS) and n not in node.body]
                assert not nested, f"{path}:{nested[0]}"


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
