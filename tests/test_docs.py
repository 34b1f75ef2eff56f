"""The documentation is true: commands run, keys and defaults are the model's, links lead somewhere."""

import json
import re
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from mmprod.cli.app import app
from mmprod.sections import Config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL = [*PAGES, ROOT / "CHANGELOG.md"]
FULL = "mmprod demo --folder demo"  # run by test_demo.py: it takes minutes
QUICK = "mmprod demo --folder small --items 60 --steps 35"  # docs/architecture.md shows it
NOT_RUN = ("git", "cd")
# A block that says `server` is shown, but not run: it needs the environment of `make triton`.
_BLOCK = re.compile(r"^```console(?: exit=(\d)| (server))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_MACHINE = re.compile(r"(?<![\w.:/-])/(?:home|root|tmp|usr|opt|mnt|var|work|Users)/")


@dataclass(frozen=True)
class Shown:
    """A command as a page shows it, and the exit code it should end with."""

    words: tuple[str, ...]
    exit_code: int
    runs: bool


def shown(page: Path) -> Iterator[Shown]:
    """The commands of a page's console blocks, in order; a backslash continues a line."""
    for block in _BLOCK.finditer(page.read_text("utf-8")):
        for line in block[3].replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield Shown(tuple(shlex.split(line[2:], comments=True)), int(block[1] or 0), not block[2])


def commands(group: TyperGroup, name: str = "mmprod") -> Iterator[tuple[str, str]]:
    """The full name of every command that does something, and its help."""
    for word, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command.help or ""


COMMANDS = dict(commands(typer.main.get_group(app)))


@pytest.fixture(scope="module")
def small(forked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small demo in it."""
    folder = tmp_path_factory.mktemp("docs")
    done = forked.mmprod(*shlex.split(QUICK)[1:], folder=folder)
    assert done.status == 0, done.err
    return folder / "small"


def to_run(page: Path) -> tuple[list[Shown], list[str]]:
    """Commands of mmprod and Python snippets of a page."""
    full = tuple(FULL.split())
    steps = [s for s in shown(page) if s.words[0] == "mmprod" and s.runs and s.words != full]
    return steps, _PYTHON.findall(page.read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(to_run(page))], ids=lambda page: page.name)
def test_everything_that_a_page_shows_runs(page: Path, forked, small: Path, tmp_path: Path) -> None:
    """In a folder with the demo, as demo/ and small/, and a configuration that names its lake."""
    steps, snippets = to_run(page)
    for name in ("demo", "small"):
        shutil.copytree(small, tmp_path / name)
    (tmp_path / "mmprod.toml").write_text('lake = "demo/lake"\n')
    for step in steps:
        done = forked.mmprod(*step.words[1:], folder=tmp_path)
        assert done.status == step.exit_code, f"{' '.join(step.words)}\n{done.out}{done.err}"
    for snippet in snippets:
        done = forked.python(snippet, tmp_path)
        assert done.status == 0, f"{snippet}\n{done.err}"


def test_other_commands_are_make_targets_or_allowed() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for page in PAGES:
        for words in (s.words for s in shown(page) if s.words[0] != "mmprod"):
            known = words[0] in NOT_RUN or (words[0] == "make" and set(words[1:]) <= set(targets))
            assert known, f"{page.name} shows {' '.join(words)!r}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_shown_and_has_an_example(name: str) -> None:
    words = tuple(name.split())
    assert any(s.words[: len(words)] == words for page in PAGES for s in shown(page)), f"no page shows {name}"
    assert re.search(rf"Examples?: {name}", COMMANDS[name]), f"{name} --help has no example"


def test_the_tested_quick_look_is_the_one_shown() -> None:
    assert tuple(shlex.split(QUICK)) in [s.words for s in shown(ROOT / "docs" / "architecture.md")]


def test_every_key_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| (?:`(.*?)`|–) \|", text, re.MULTILINE)
    told = {key: json.loads(default) if default else None for key, default in rows}
    assert len(told) == len(rows), "a key is documented twice"
    assert told == dict(leaves(Config().model_dump(mode="json")))


def leaves(content: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_links_lead_somewhere_and_no_page_names_a_machine(page: Path) -> None:
    text = page.read_text("utf-8")
    for link in _LINK.findall(text):
        target = link.partition("#")[0]
        if target and "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {link}"
    assert not _MACHINE.search(text), f"{page.name} has an absolute path"


def test_help_takes_less_than_a_second() -> None:
    """Of user and system time, so that what runs beside it counts little; the best of three."""
    command = shutil.which("mmprod", path=str(Path(sys.executable).parent))
    assert command, "the environment has no mmprod command"
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([command, "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 1.0, seconds


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "faiss", "lance", "open_clip", "pyarrow", "numpy")
    code = "import sys, mmprod.cli.app; print([n for n in sys.argv[1:] if n in sys.modules])"
    line = [sys.executable, "-c", code, *heavy]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done


def test_the_files_that_architecture_leads_through_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+\.py)`", text))
    assert len(named) > 40
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
