"""The precision that fits a machine is the one that is measured to be fastest there."""

import ast
import logging
import os
import platform
import subprocess
import sys
import time

import pytest
import torch

from mmprod.encoders import hardware
from mmprod.encoders.hardware import GAIN, Speeds, fitting, fitting_engine, speeds

PLAIN = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def measured(bf16: tuple[float, float], fp16: tuple[float, float]) -> Speeds:
    """Of a device whose fp32 takes .1 s and .2 s; the others as given: product, convolution."""
    return Speeds(
        "cpu",
        {"fp32": 0.1, "amp_bf16": bf16[0], "amp": fp16[0]},
        {"fp32": 0.2, "amp_bf16": bf16[1], "amp": fp16[1]},
    )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Lets a machine be as measured; what was chosen is forgotten before and after."""

    def be(found: Speeds) -> None:
        monkeypatch.setattr(hardware, "speeds", lambda device: found)

    fitting.cache_clear()
    yield be
    fitting.cache_clear()


def test_both_operations_count_alike() -> None:
    """Four times as fast in products, as fast in convolutions: √(4 · 1)."""
    found = measured((0.025, 0.2), (0.4, 0.8))
    assert found.gain("amp_bf16") == pytest.approx(2)
    assert found.gain("amp") == pytest.approx(0.25)
    assert found.gain("fp32") == 1


@pytest.mark.parametrize(
    ("bf16", "fp16", "best"),
    [
        ((0.05, 0.1), (0.05, 0.1), "amp_bf16"),  # needs no scaler
        ((0.05, 0.1), (0.01, 0.02), "amp_bf16"),
        ((1.0, 2.0), (0.05, 0.1), "amp"),
        ((1.0, 2.0), (1.0, 2.0), "fp32"),
        ((0.1 / 1.2, 0.2 / 1.2), (1.0, 2.0), "amp_bf16"),
        ((0.1 / 1.1, 0.2 / 1.1), (1.0, 2.0), "fp32"),  # a little faster is not worth the rounding
        ((0.01, 20.0), (1.0, 2.0), "fp32"),  # fast in products alone
    ],
)
def test_half_precision_has_to_be_faster_by_more_than_its_rounding_costs(bf16, fp16, best, machine) -> None:
    machine(measured(bf16, fp16))
    assert fitting("auto", "cpu") == best


def test_what_is_slower_than_fp32_is_warned_of_once_with_both_figures(machine, caplog) -> None:
    machine(measured((0.4, 0.8), (0.05, 0.1)))
    with caplog.at_level(logging.WARNING):
        assert [fitting("amp_bf16", "cpu") for _ in range(3)] == ["amp_bf16"] * 3
        assert fitting("amp", "cpu") == "amp"
        assert fitting("fp32", "cpu") == "fp32"
    (warning,) = caplog.messages
    for figure in ("amp_bf16 is 0.25 times as fast", "400 ms, in fp32 100", "800 ms, in fp32 200", '"auto"'):
        assert figure in warning


def test_engines_are_made_in_what_runs_them_faster(machine) -> None:
    machine(measured((0.05, 0.1), (0.05, 0.1)))
    assert fitting_engine("openvino", "auto", "cpu") == "bf16"
    assert fitting_engine("onnx", "auto", "cpu") == "fp32"  # ONNX Runtime has no such kernels on CPUs
    assert fitting_engine("onnx", "auto", "cuda") == "fp16"
    machine(measured((1.0, 2.0), (1.0, 2.0)))
    assert {fitting_engine(kind, "auto", "cuda") for kind in ("onnx", "openvino", "tensorrt")} == {"fp32"}
    assert fitting_engine("tensorrt", "fp16", "cuda") == "fp16"  # as it was said


def test_an_openvino_engine_in_slow_bf16_is_warned_of(machine, caplog) -> None:
    machine(measured((0.4, 0.8), (0.4, 0.8)))
    with caplog.at_level(logging.WARNING):
        assert fitting_engine("openvino", "bf16", "cpu") == "bf16"
    assert "amp_bf16 is 0.25 times as fast" in caplog.text


def test_this_machine_is_measured_and_chosen_for_by_that() -> None:
    found = speeds("cpu")
    assert speeds("cpu") is found  # measured once
    for times in (found.product, found.convolution):
        assert set(times) == {"fp32", "amp_bf16", "amp"}
        assert all(0 < seconds < 60 for seconds in times.values())
    faster = [half for half in ("amp_bf16", "amp") if found.gain(half) >= GAIN]
    assert (found.best == "fp32") == (not faster)
    assert found.best == "fp32" or found.best == faster[0]


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the variables are of x86")
def test_on_a_machine_without_bf16_auto_never_is_what_was_slower() -> None:
    """An x86 with bf16 behaves like a plain one under these variables; a plain one as it is."""
    code = "from mmprod.encoders.hardware import fitting, speeds; found = speeds('cpu')\n"
    code += "print([fitting('auto', 'cpu'), {half: found.gain(half) for half in ('amp_bf16', 'amp')}])"
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, env={**os.environ, **PLAIN}, capture_output=True, text=True, check=True)
    chosen, gains = ast.literal_eval(done.stdout)
    assert chosen == "fp32" or gains[chosen] >= GAIN
    assert gains["amp_bf16"] < 1 and chosen != "amp_bf16"  # AVX2 has no products of it


def test_waiting_for_the_processor_is_not_counted_as_slowness() -> None:
    """Beside other work, the same precision is chosen as on an idle machine."""
    square = torch.ones(2, 2)
    took = hardware._seconds("cpu", lambda left, right: time.sleep(0.3) or left, square, square)
    assert took < 0.1
