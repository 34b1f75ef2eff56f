"""The nouns of what is published: list, show, verify and prune, the same for each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mmprod.cli.app import app
from mmprod.lake import Lake
from mmprod.storage import artifacts

ENCODER = "e" * 64
REFUSED = {"checks": [{"name": "similarity", "value": 1.0, "limit": 0.98, "ok": False}]}
PASSED = {"checks": [{"name": "similarity", "value": 0.5, "limit": 0.98, "ok": True}]}
FOLDERS: dict[str, Callable[[Lake], Path]] = {
    "index": lambda lake: lake.index("same_item"),
    "recall": lambda lake: lake.recall("same_item"),
    "groups": lambda lake: lake.groups,
    "features": lambda lake: lake.features,
    "release": lambda lake: lake.releases,
}
PROFILED = ("index", "recall")
Ask = Callable[..., Any]


def publish(root: Path, rows: int, **counts: Any) -> str:
    with artifacts.publishing(root, "kind", {"encoder": ENCODER}, {"k": 10}) as draft:
        (draft.path / "data").write_text("x" * rows)
        draft.counts |= {"rows": rows, **counts}
    return draft.generation


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Three generations of each noun, the second in use; an index of another profile."""
    lake = Lake(tmp_path / "lake")
    for folder in FOLDERS.values():
        for rows in (10, 20, 30):
            publish(folder(lake), rows)
        artifacts.switch(folder(lake), "g000002")
    publish(lake.index("looks"), 5)
    return lake


@pytest.fixture
def mmprod(lake: Lake) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(app, [*words, "--lake", str(lake.root)])


@pytest.fixture
def ask(mmprod: Callable[..., Result]) -> Ask:
    """What a command tells machines; it has to go well."""

    def ask(*words: str) -> Any:
        done = mmprod(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return ask


def mine(listed: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in listed["generations"] if one.get("profile", "same_item") == "same_item"]


@pytest.mark.parametrize("noun", FOLDERS)
def test_every_generation_is_listed_and_the_one_in_use_is_marked(noun: str, ask: Ask) -> None:
    found = mine(ask(noun, "list"))
    assert [(one["generation"], one["rows"], one["in_use"]) for one in found] == [
        ("g000001", 10, False),
        ("g000002", 20, True),
        ("g000003", 30, False),
    ]
    assert {one["encoder"] for one in found} == {ENCODER}
    assert all(("profile" in one) == (noun in PROFILED) for one in found)


@pytest.mark.parametrize("noun", FOLDERS)
def test_the_one_in_use_is_shown_unless_another_is_named(noun: str, ask: Ask, lake: Lake) -> None:
    profile = ("--profile", "same_item") if noun in PROFILED else ()
    (shown,) = ask(noun, "show", *profile)["generations"]
    assert (shown["generation"], shown["counts"]) == ("g000002", {"rows": 20})
    assert (shown["inputs"], shown["config"]) == ({"encoder": ENCODER}, {"k": 10})
    manifest = FOLDERS[noun](lake) / "g000002" / artifacts.MANIFEST
    assert shown["bytes"] == 20 + manifest.stat().st_size
    (shown,) = ask(noun, "show", "g000003", *profile)["generations"]
    assert (shown["generation"], shown["in_use"], shown["rows"]) == ("g000003", False, 30)


def test_a_profile_whose_index_was_only_built_shows_the_latest(ask: Ask) -> None:
    shown = {one["profile"]: one["generation"] for one in ask("index", "show")["generations"]}
    assert shown == {"looks": "g000001", "same_item": "g000002"}


def test_people_see_what_was_refused_and_why(mmprod: Callable[..., Result], lake: Lake) -> None:
    for gate in (PASSED, REFUSED):
        publish(lake.index("same_item"), 40, gate=gate)
    lines = [" ".join(line.split()) for line in mmprod("index", "list").stdout.splitlines()]
    standing = {line.split()[1]: line for line in lines if line.startswith("same_item")}
    assert standing["g000002"].endswith("in use")
    assert standing["g000004"].endswith(ENCODER[:12])
    assert standing["g000005"].endswith("refused: similarity")
    shown = mmprod("index", "show", "g000005", "--profile", "same_item").stdout
    (check,) = [line.split() for line in shown.splitlines() if line.strip().startswith("similarity")]
    assert check == ["similarity", "1.0", "0.980", "refused"]


@pytest.mark.parametrize("noun", FOLDERS)
def test_a_damaged_file_is_named_and_ends_with_1(noun: str, mmprod, ask: Ask, lake: Lake) -> None:
    assert ask(noun, "verify") == {"problems": []}
    data = FOLDERS[noun](lake) / "g000001" / "data"
    data.write_text("y" * 10)
    done = mmprod(noun, "verify", "--json")
    (problem,) = json.loads(done.stdout)["problems"]
    assert done.exit_code == 1
    assert problem.startswith(f"{data.parent.relative_to(lake.root)}: data has sha256")
    other = next(name for name in FOLDERS if name != noun)
    assert ask(other, "verify") == {"problems": []}  # of that noun alone


def test_a_pointer_that_fits_nothing_is_damage_too(mmprod, lake: Lake) -> None:
    (lake.groups / artifacts.CURRENT).write_text("g000009 nothing\n")
    done = mmprod("groups", "verify")
    assert done.exit_code == 1 and "fits no generation" in done.stdout


@pytest.mark.parametrize("noun", FOLDERS)
def test_prune_keeps_the_newest_and_the_one_in_use(noun: str, ask: Ask, lake: Lake) -> None:
    root = FOLDERS[noun](lake)
    removed = [f"{root.relative_to(lake.root)}/g000001"]
    assert ask(noun, "prune", "--keep", "1") == {"removed": removed}
    assert artifacts.generations(root) == ["g000002", "g000003"]
    assert artifacts.current(root) == "g000002"
    for other in FOLDERS.keys() - {noun}:
        assert len(artifacts.generations(FOLDERS[other](lake))) == 3


def test_a_release_that_is_served_is_not_pruned(ask: Ask, lake: Lake) -> None:
    """The service holds what it serves, in use or not."""
    with artifacts.opened(lake.releases, "g000001"):
        assert ask("release", "prune", "--keep", "1") == {"removed": []}
    assert ask("release", "prune", "--keep", "1") == {"removed": ["releases/g000001"]}


def test_one_profile_can_be_named(ask: Ask, mmprod, lake: Lake) -> None:
    assert [one["rows"] for one in ask("index", "list", "--profile", "looks")["generations"]] == [5]
    assert ask("index", "prune", "--keep", "1", "--profile", "looks") == {"removed": []}
    done = mmprod("index", "list", "--profile", "nope")
    assert done.exit_code == 2
    assert "no index of profile 'nope'; there are looks, same_item" in done.output
    assert mmprod("groups", "list", "--profile", "looks").exit_code == 2


def test_without_a_generation_there_is_nothing_to_show(tmp_path: Path) -> None:
    def run(*words: str) -> Result:
        return CliRunner().invoke(app, [*words, "--lake", str(tmp_path / "empty"), "--json"])

    assert json.loads(run("groups", "list").stdout) == {"generations": []}
    assert json.loads(run("groups", "verify").stdout) == {"problems": []}
    done = run("groups", "show")
    assert done.exit_code == 1 and "run `mmprod groups build`" in done.output


def test_a_generation_that_is_not_there_is_said_with_those_that_are(mmprod) -> None:
    done = mmprod("groups", "show", "g000009")
    assert done.exit_code == 2
    assert "no generation 'g000009'; there are g000001, g000002, g000003" in done.output


def test_only_the_configured_encoder_is_in_use(ask: Ask, lake: Lake) -> None:
    for name in ("tiny", "shop"):
        for fingerprint in ("a" * 64, "b" * 64):
            root = lake.encoder(name)
            with artifacts.publishing(root, "encoder", {}, {}) as draft:
                (draft.path / "data").write_text(name)
                draft.counts |= {"pairs": 7, "fingerprint": fingerprint}
        artifacts.switch(root, "g000001")
    found = ask("encoder", "list")["generations"]
    assert [(one["name"], one["generation"], one["encoder"][0], one["in_use"]) for one in found] == [
        ("shop", "g000001", "a", False),
        ("shop", "g000002", "b", False),
        ("tiny", "g000001", "a", True),
        ("tiny", "g000002", "b", False),
    ]
