"""A training that dies and goes on gives, bit for bit, what one that never died gives."""

import errno
import random
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from types import ModuleType
from typing import Any

import pytest
import torch

from mmprod.encoders.training import checkpoint
from mmprod.storage.errors import StateError
from mmprod.storage.faults import VARIABLE

Start = Callable[..., Popen[str]]

RECIPES: dict[str, dict[str, Any]] = {
    "clip": {},
    "soft labels": {"loss": "soft"},
    "soft labels in parts": {"loss": "soft", "accum_freq": 2},
    "siglip": {"kind": "siglip"},
    "same item": {"same_item": True},
    "dropout": {"kind": "drop"},
    "accumulation": {"accum_freq": 3, "kind": "drop"},
    "GradCache": {"accum_freq": 2, "grad_cache": True, "kind": "drop"},
    "bfloat16": {"precision": "amp_bf16"},
    "float16": {"precision": "amp"},
    "low rank": {"lora_rank": 2},
    "average of weights": {"ema_decay": 0.7},
    "low rank, average, soft labels": {"lora_rank": 2, "ema_decay": 0.7, "loss": "soft"},
    "locked": {"layer_decay": 0.6, "lock_image": True, "lock_image_unlocked_groups": 2, "lock_text": True},
}


class DeathError(Exception):
    """The process is gone."""


def dies_after(step: int) -> Callable[..., None]:
    def on_step(number: int, scalars: dict[str, float]) -> None:
        if number == step:
            raise DeathError

    return on_step


def equal(one: Any, other: Any) -> bool:
    """Bit for bit, down nested states."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@pytest.fixture(scope="module")
def undisturbed(driver: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("undisturbed")
    _, trainer = driver.train(folder, loss="soft", keep_checkpoints=3)
    return trainer, folder


@pytest.mark.parametrize("name", RECIPES)
def test_going_on_equals_never_stopping(driver: ModuleType, tmp_path: Path, name: str) -> None:
    recipe = RECIPES[name]
    told: list[tuple[int, float]] = []
    again: list[tuple[int, float]] = []
    best, whole = driver.train(tmp_path / "whole", on_step=lambda n, s: told.append((n, s["loss"])), **recipe)
    with pytest.raises(DeathError):
        driver.train(tmp_path / "parts", on_step=dies_after(5), **recipe)
    resumed_best, resumed = driver.train(
        tmp_path / "parts", on_step=lambda n, s: again.append((n, s["loss"])), **recipe
    )
    assert again == told[3:]  # from the checkpoint of step 3
    assert equal(resumed.state(), whole.state())
    assert equal(resumed_best.state_dict(), best.state_dict())


def test_after_the_last_step_only_the_best_model_is_read(driver: ModuleType, tmp_path: Path) -> None:
    best, _ = driver.train(tmp_path)
    again, _ = driver.train(tmp_path, on_step=dies_after(1), evaluate=lambda model: pytest.fail("again"))
    assert equal(best.state_dict(), again.state_dict())


@pytest.mark.parametrize("damage", ["flip", "cut", "no seal", "torn seal", "gone"])
def test_a_damaged_checkpoint_is_passed_over(
    driver: ModuleType,
    undisturbed: tuple[Any, Path],
    tmp_path: Path,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole, source = undisturbed
    shutil.copytree(source, tmp_path / "run")
    newest = tmp_path / "run" / "step-00000009.pt"
    content = bytearray(newest.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    elif damage == "cut":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "no seal":
        newest.with_suffix(".json").unlink()
    elif damage == "torn seal":
        newest.with_suffix(".json").write_text('{"step": 9, "sha')
    else:
        newest.unlink()
    assert checkpoint.latest_step(tmp_path / "run") == 6
    told: list[int] = []
    _, resumed = driver.train(
        tmp_path / "run", loss="soft", keep_checkpoints=3, on_step=lambda number, _: told.append(number)
    )
    assert told == [7, 8, 9]
    assert equal(resumed.state(), whole.state())
    assert ("is damaged" in caplog.text) == (damage != "no seal")  # without a seal it was never whole


def test_killed_between_a_checkpoint_and_its_seal(
    driver: ModuleType, undisturbed: tuple[Any, Path], start: Start, tmp_path: Path
) -> None:
    job = {"folder": tmp_path, "loss": "soft", "keep_checkpoints": 3}
    process = start([job], **{VARIABLE: "checkpoint.written:2:kill"})
    process.communicate(timeout=120)
    assert process.returncode == -9
    assert (tmp_path / "step-00000006.pt").exists() and checkpoint.latest_step(tmp_path) == 3
    _, resumed = driver.train(tmp_path, loss="soft", keep_checkpoints=3)
    assert equal(resumed.state(), undisturbed[0].state())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment(
    driver: ModuleType, undisturbed: tuple[Any, Path], start: Start, tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    process = start([{"folder": tmp_path, "loss": "soft", "keep_checkpoints": 3}])
    assert process.stdout is not None
    for _ in range(draw.randint(1, 9)):
        process.stdout.readline()
    with suppress(TimeoutExpired):
        process.wait(draw.uniform(0, 0.03))
    process.kill()
    process.communicate()
    _, resumed = driver.train(tmp_path, loss="soft", keep_checkpoints=3)
    assert equal(resumed.state(), undisturbed[0].state())


def test_a_full_disk_leaves_earlier_checkpoints(
    driver: ModuleType, undisturbed: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmprod.storage.faults._passed", Counter())
    monkeypatch.setenv(VARIABLE, "checkpoint.written:2:enospc")
    with pytest.raises(OSError, match="No space left") as found:
        driver.train(tmp_path, loss="soft", keep_checkpoints=3)
    assert found.value.errno == errno.ENOSPC
    monkeypatch.delenv(VARIABLE)
    _, resumed = driver.train(tmp_path, loss="soft", keep_checkpoints=3)
    assert equal(resumed.state(), undisturbed[0].state())


def test_half_a_checkpoint_is_cleared_away(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"pickle|local"):
        checkpoint.write_tensors(tmp_path / "x.pt", {"rows": torch.zeros(9), "bad": lambda: None})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [1, 2])
def test_so_many_checkpoints_are_kept(driver: ModuleType, tmp_path: Path, keep: int) -> None:
    driver.train(tmp_path, keep_checkpoints=keep)
    expected = [f"step-{step:08d}.{end}" for step in (6, 9)[-keep:] for end in ("json", "pt")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", *expected]


def test_a_best_model_of_another_run_is_refused(driver: ModuleType, tmp_path: Path) -> None:
    driver.train(tmp_path)
    state = checkpoint.read_tensors(tmp_path / "best.pt", "cpu")
    checkpoint.write_tensors(tmp_path / "best.pt", {**state, "step": 4})
    with pytest.raises(StateError, match="step 4"):
        driver.train(tmp_path)
