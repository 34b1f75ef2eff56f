"""Modules that are imported at their first use."""

import subprocess
import sys
from pathlib import Path

import pytest

from mmprod.datasets.lazy import lazy


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that can be imported, and is not imported yet."""
    (tmp_path / "slow_library").mkdir()
    (tmp_path / "slow_library" / "__init__.py").touch()
    (tmp_path / "slow_library" / "part.py").write_text("NUMBER = 7\nITEMS = [1, 2]\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("slow_library", "slow_library.part"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "slow_library.part"


def test_nothing_is_loaded_before_the_first_use(slow: str) -> None:
    part = lazy(slow)
    assert repr(part) == "lazy('slow_library.part')"
    assert not {"slow_library", slow} & sys.modules.keys()
    assert part.NUMBER == 7
    assert {"slow_library", slow} <= sys.modules.keys()


def test_attributes_are_those_of_the_module(slow: str) -> None:
    part = lazy(slow)
    items = part.ITEMS
    module = sys.modules[slow]
    assert items is module.ITEMS
    module.ITEMS = [3]  # what is changed later is seen too
    assert part.ITEMS == [3]


def test_an_attribute_that_the_module_lacks_is_an_attribute_error(slow: str) -> None:
    with pytest.raises(AttributeError, match=r"slow_library\.part.*'NOTHING'"):
        _ = lazy(slow).NOTHING


def test_a_missing_module_is_told_of_at_the_first_use() -> None:
    missing = lazy("there_is_no_such_library")
    with pytest.raises(ImportError, match="No module named 'there_is_no_such_library'"):
        _ = missing.anything


def test_a_module_that_fails_raises_its_own_error(slow: str, tmp_path: Path) -> None:
    (tmp_path / "slow_library" / "part.py").write_text("raise ImportError('no driver here')\n")
    with pytest.raises(ImportError, match="no driver here"):
        _ = lazy(slow).NUMBER


def test_a_module_of_ours_loads_no_library_when_it_is_imported() -> None:
    """As the real ones do it: openpyxl comes with the first workbook."""
    code = "import sys, mmprod.eval.sheets.workbook; print('openpyxl' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
