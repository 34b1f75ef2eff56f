"""The driver as a fixture: tests are not a package, so it is loaded by its path."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

DRIVER = Path(__file__).with_name("driver.py")


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums over several threads round differently: what is compared to the last bit runs on one, as the
    driver's own processes do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def driver() -> ModuleType:
    spec = importlib.util.spec_from_file_location("training_driver", DRIVER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """Starts the driver in a process of its own, or in several under torchrun."""

    def launch(jobs: list[dict[str, Any]], processes: int = 1, **environ: str) -> subprocess.Popen[str]:
        command = [sys.executable]
        if processes > 1:
            command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environ}
        command += [str(DRIVER), json.dumps(jobs, default=str)]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return launch
