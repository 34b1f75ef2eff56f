"""A process that has opened and closed engines can still be interrupted."""

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import signal
from pathlib import Path

import numpy as np
import openvino
from openvino import opset13

from mmprod.encoders.export.openvino import open_runner

x = opset13.parameter([1, 2], np.float32)
x.output(0).set_names({"x"})
openvino.save_model(openvino.Model([opset13.add(x, x)], [x]), "double.xml")
towers = [open_runner(Path("double.xml"), "x", "fp32", 1) for _ in range(2)]
print(*(tower(np.float32([[1, 2]])) for tower in towers))
while towers:
    towers.pop(0)  # as those of an engine: the first is freed first
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_openvino_engines_that_are_closed_leave_signals_alone(tmp_path: Path) -> None:
    """In a process of its own, as a dead one is what to look for."""
    command = [sys.executable, "-c", CODE]
    quiet = {**os.environ, "CI": "true"}  # no report to OpenVINO's makers
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=quiet)
    assert (done.returncode, done.stdout) == (0, "[[2. 4.]] [[2. 4.]]\ninterrupted\n"), done.stderr
