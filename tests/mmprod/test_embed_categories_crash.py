"""Kill -9 while an encoder's list of categories changes, then run again: as an undisturbed run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HOME = "Home"
Day = Callable[..., Any]
Content = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="module")
def calm(
    grown, forked_day: Day, content: Content, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The tables after an undisturbed second day, by the list that it was run with."""
    found = {}
    for listed in (HOME, ""):
        folder = tmp_path_factory.mktemp("calm") / "world"
        shutil.copytree(grown.folder, folder)
        _choose(folder, listed)
        assert forked_day(folder, 2).status == 0
        found[listed] = content(folder)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("then", [HOME, ""], ids=["again", "and back to all"])
@pytest.mark.parametrize("point", ["embed.encoded:2", "embed.committed:1"])
def test_killed_while_the_list_changes_and_run_again_equals_undisturbed(
    grown,
    forked_day: Day,
    content: Content,
    calm: dict[str, str],
    tmp_path: Path,
    point: str,
    then: str,
) -> None:
    folder = tmp_path / "world"
    shutil.copytree(grown.folder, folder)
    _choose(folder, HOME)
    assert forked_day(folder, 2, MMPROD_FAULT=f"{point}:kill").status == -9, "the fault never fired"
    _choose(folder, then)
    assert forked_day(folder, 2).status == 0
    assert content(folder) == calm[then]


def _choose(folder: Path, category: str) -> None:
    """Let a world's configuration name one category, or none."""
    file = folder / "mmprod.toml"
    lines = [
        line for line in file.read_text().splitlines() if not line.startswith(("categories", "max_shrink"))
    ]
    wanted = json.dumps([category] if category else [])
    put = {"[encoder]": f"categories = {wanted}", "[index]": "max_shrink = 1.0"}
    file.write_text("\n".join(f"{line}\n{put[line]}" if line in put else line for line in lines) + "\n")
