"""Backends: the fastest that is close enough to torch is chosen, and a wrong one is not, however fast."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image

from mmprod.encoders import backends
from mmprod.encoders.backends import TORCH, Figures, fastest, key_of, machine
from mmprod.encoders.clip import Encoder
from mmprod.encoders.export.build import build
from mmprod.encoders.export.encoder import ExportedEncoder
from mmprod.encoders.export.gate import Truth
from mmprod.encoders.export.inputs import Inputs, with_hard_ones
from mmprod.encoders.export.spec import Backend, Spec, files_of
from mmprod.encoders.hardware import speeds
from mmprod.encoders.measure_backends import candidates, measured
from mmprod.storage.errors import InputError

RNG = np.random.default_rng(0)
TITLES = tuple(" ".join(RNG.choice(["red", "mug", "oak", "lamp", "blue"], 4)) for _ in range(40))
NOISE = [Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(40)]


def figures(speed: float, image: float = 1.0, text: float = 1.0) -> Figures:
    return Figures(speed, speed, image, text, image, text)


def test_a_product_takes_the_time_of_its_picture_and_of_its_title() -> None:
    assert Figures(20, 80, 1, 1, 1, 1).products == pytest.approx(16)  # 1/20 + 1/80 of a second


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ({}, TORCH),
        ({"onnx-fp32": figures(20), "openvino-bf16": figures(30)}, "openvino-bf16"),
        ({"onnx-fp32": figures(20), "openvino-bf16": figures(30, image=0.9994)}, "onnx-fp32"),
        ({"onnx-fp32": figures(20), "openvino-bf16": figures(30, text=-1)}, "onnx-fp32"),
        ({"onnx-fp32": figures(20), "openvino-bf16": figures(30, text=0.9995)}, "openvino-bf16"),
        ({"torch-bf16": figures(10.9)}, TORCH),  # less than a tenth faster
        ({"torch-bf16": figures(5)}, TORCH),
    ],
)
def test_the_fastest_close_enough_is_chosen(others: dict[Backend, Figures], chosen: str) -> None:
    assert fastest({TORCH: figures(10), **others}, 0.9995) == chosen


def test_torch_is_chosen_even_where_its_own_cosine_is_bad() -> None:
    assert fastest({TORCH: figures(10, image=-1)}, 0.9995) == TORCH


def test_figures_hold_for_one_kind_of_processor_and_one_set_of_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def key(flags: str, name: str = "EPYC") -> str:
        path = tmp_path / "cpuinfo"
        path.write_text(f"model name\t: {name}\nflags\t\t: fpu {flags}\n\nmodel name : Other\n")
        monkeypatch.setattr(backends, "CPUINFO", path)
        return key_of(machine("cpu"))

    first = key("avx2 fma md_clear")
    assert first == key("fma avx2 another_mitigation"), "only instruction sets count, in any order"
    assert len({first, key("avx2 fma avx512_bf16"), key("avx2 fma", "Xeon")}) == 3
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert key("avx2 fma") != first


def test_a_machine_that_tells_nothing_of_its_processor_has_a_key_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(backends, "CPUINFO", tmp_path / "none")
    assert len(key_of(machine("cpu"))) == 12


def test_torch_in_fp32_is_always_a_candidate_and_the_first() -> None:
    found = candidates("cpu")
    assert found[0] == TORCH and len(set(found)) == len(found)
    assert not [name for name in found if name.startswith("tensorrt") or name == "torch-fp16"]


@pytest.fixture(scope="module")
def truth(encoder: Encoder) -> Truth:
    inputs = Inputs(tuple(map(str, range(40))), tuple(NOISE), TITLES)
    return Truth.of(encoder, with_hard_ones(inputs))


def damage(folder: Path) -> None:
    """Other weights in the text tower than were exported, though every checksum fits."""
    model = onnx.load(folder / "text.onnx")
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights = numpy_helper.to_array(largest)
    largest.CopyFrom(numpy_helper.from_array(weights[::-1].copy(), largest.name))
    onnx.save(model, folder / "text.onnx")
    spec = json.loads((folder / "engine.json").read_text())
    Spec(**(spec | {"files": files_of(folder)})).write(folder)


def test_an_engine_with_wrong_weights_has_a_bad_cosine_and_a_sound_one_none(
    encoder: Encoder, truth: Truth, tmp_path: Path
) -> None:
    build(encoder, "onnx", "fp32", ("image", "text"), tmp_path)
    sound = measured({TORCH: encoder, "onnx-fp32": ExportedEncoder.open(tmp_path)}, truth, "cpu")
    assert sound["onnx-fp32"].cosine > 0.99999 and sound["onnx-fp32"].image_centred > 0.9999
    assert sound[TORCH].cosine > 0.99999 and sound[TORCH].products > 0
    damage(tmp_path)
    found = measured({TORCH: encoder, "onnx-fp32": ExportedEncoder.open(tmp_path)}, truth, "cpu")
    assert found["onnx-fp32"].image_cosine > 0.99999 > 0.9995 > found["onnx-fp32"].text_cosine
    assert found["onnx-fp32"].text_centred < found["onnx-fp32"].text_cosine, "what all share hides a part"
    quick = {name: replace(f, pictures=1e6, titles=1e6) if name != TORCH else f for name, f in found.items()}
    assert fastest(quick, 0.9995) == TORCH


def test_half_precision_gives_vectors_of_unit_length_close_to_fp32(encoder: Encoder) -> None:
    if speeds().gain("amp_bf16") < 0.3:
        pytest.skip("bfloat16 is emulated here")
    half = replace(encoder, precision="bf16")
    assert (half.backend, encoder.backend) == ("torch-bf16", TORCH)
    for mine, true in (
        (half.pictures(NOISE[:20]), encoder.pictures(NOISE[:20])),
        (half.titles(TITLES), encoder.titles(TITLES)),
    ):
        np.testing.assert_allclose(np.linalg.norm(mine, axis=1), 1, atol=1e-6)
        cosines = (mine * true).sum(axis=1)
        assert mine.dtype == np.float32 and 0.99 < cosines.min() < 1 - 1e-7


def test_a_gpu_that_is_not_there_is_told_of() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(InputError, match=r"encoder\.device is 'cuda:3', which torch can't use here"):
        machine("cuda:3")
