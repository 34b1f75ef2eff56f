"""The demo keeps what the README says of it: a model trained from nothing in two minutes finds products."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = 420
"""Fewer than two cores without bfloat16 make in the time that the demo gives itself."""


@pytest.mark.slow
def test_accuracy_floors(tmp_path: Path) -> None:
    mmprod = Path(sys.executable).with_name("mmprod")
    command = [mmprod, "demo", "--folder", "demo", "--steps", str(STEPS), "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    found_first = {row["weighting"]: row["found first"] for row in told["same_item"]}
    assert found_first["picture only"] >= 0.70
    precision = {row["search"]: row["P@10"] for row in told["search"]}
    assert precision["picture search"] >= precision["keyword search"] + 0.15
    assert (tmp_path / "demo" / "report.html").stat().st_size > 100_000
