"""The table of what was skipped: of all parts, whichever of them fail, and what CI takes for a failure."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Its parts run at once, as those of `make test`; the second one fails.
MAKEFILE = f"""
parts: first second third
first second third:
	{sys.executable} -m pytest -q -p no:cacheprovider test_$@.py
"""
FIRST = """
import pytest

def test_passes(): pass

@pytest.mark.skipif(True, reason="there is no moon tonight")
def test_under_a_mark(): pass

@pytest.mark.parametrize("n", [1, 2])
def test_for_want_of_something(missing, n): missing("rocket", "make rocket")

@pytest.mark.xfail
def test_expected_to_fail(): assert False
"""
SECOND = """
import pytest

@pytest.fixture(scope="module")
def rocket(missing): missing("rocket", "make rocket")

@pytest.mark.parametrize("n", [1, 2, 3])
def test_for_want_of_something(rocket, n): pass

def test_in_its_midst(): pytest.skip("tired")

def test_fails(): assert False
"""
THIRD = """
import pytest

pytest.importorskip("no_such_module", reason="no such module")

def test_passes(): pass
"""
TABLE = """\
Skipped: 8
tests  why                                                 where
    1  no such module                                      test_third.py
    1  there is no moon tonight                            test_first.py
    5  there is no rocket here: `make rocket` installs it  test_first.py, test_second.py
    1  tired                                               test_second.py
"""
IN_CI = "In CI nothing is skipped that can be installed: run `make rocket`\n"


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder with three files of tests and a Makefile."""
    shutil.copy(HERE / "conftest.py", tmp_path)
    (tmp_path / "Makefile").write_text(MAKEFILE)
    for name, text in {"first": FIRST, "second": SECOND, "third": THIRD}.items():
        (tmp_path / f"test_{name}.py").write_text(text)
    return tmp_path


def skipped(folder: Path, *command: str, ci: str = "") -> tuple[int, str]:
    """How a command under `skips.py` ends, and what it said."""
    line = [sys.executable, str(HERE / "skips.py"), *command]
    environment = {**os.environ, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # half the time
    done = subprocess.run(
        line, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


def alone(folder: Path, *tests: str, ci: str = "") -> tuple[int, str]:
    return skipped(folder, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests, ci=ci)


@pytest.mark.parametrize("ci", ["", "true"])
def test_one_table_tells_what_all_parts_skipped_also_where_one_fails(parts: Path, ci: str) -> None:
    code, said = skipped(parts, "make", "--keep-going", "--jobs", "3", "--output-sync=line", "parts", ci=ci)
    assert code != 0 and "1 failed" in said
    assert said.endswith(TABLE + (IN_CI if ci else "")), said


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("false", 0), ("true", 1)])
def test_in_ci_a_skip_fails_where_a_command_would_install_what_it_wants(
    parts: Path, ci: str, code: int
) -> None:
    ended, said = alone(parts, "test_first.py", ci=ci)
    assert ended == code and "there is no rocket here: `make rocket` installs it" in said
    assert said.endswith(IN_CI) == bool(code)


def test_in_ci_any_other_skip_stays_one(parts: Path) -> None:
    code, said = alone(parts, "test_second.py", "-k", "midst", ci="true")
    assert code == 0 and said.endswith("    1  tired  test_second.py\n")


def test_where_nothing_was_skipped_a_line_says_so(parts: Path) -> None:
    code, said = alone(parts, "test_first.py", "-k", "passes", ci="true")
    assert code == 0 and said.endswith("\nNothing was skipped.\n")
