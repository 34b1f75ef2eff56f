"""Two processes equal one with the doubled batch; each works on its own part of it."""

from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from types import ModuleType
from typing import Any

import pytest
import torch

COMMON: dict[str, Any] = {"eps": 1e-4, "steps": 6}  # a large epsilon: AdamW divides rounding errors by it
JOBS: dict[str, dict[str, Any]] = {
    "clip": {},
    "siglip": {"kind": "siglip"},
    "soft": {"loss": "soft"},
    "same-item": {"same_item": True},
    "clip-cached": {"accum_freq": 2, "grad_cache": True},
}


@pytest.fixture(scope="module")
def together(start: Callable[..., Popen[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where two gloo processes left the weights of each job."""
    folder = tmp_path_factory.mktemp("two")
    jobs = [{"folder": folder / name, "batch_size": 8, **COMMON, **job} for name, job in JOBS.items()]
    process = start(jobs, processes=2)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_two_processes_equal_one_with_the_doubled_batch(
    driver: ModuleType, together: Path, tmp_path: Path, name: str
) -> None:
    _, one = driver.train(tmp_path, batch_size=16, **COMMON, **JOBS[name])
    two = torch.load(together / name / "weights.pt", weights_only=True)
    start = driver.new_model(JOBS[name].get("kind", "clip")).state_dict()
    moved = max(float((two[key] - start[key]).abs().max()) for key in start)
    assert moved > 1e-3
    for key, value in one.model.state_dict().items():
        torch.testing.assert_close(two[key], value, atol=1e-5, rtol=0, msg=lambda m, key=key: f"{key}: {m}")
