"""Opening engines: what they accept, what they fall back to, and TensorRT as far as it goes without a GPU."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmprod.encoders.export import tensorrt
from mmprod.encoders.export.build import build, check
from mmprod.encoders.export.engine import Engine, load_engine
from mmprod.encoders.export.spec import Kind, Precision, Spec
from mmprod.encoders.random_base import random_base
from mmprod.storage.errors import InputError, StateError

without_tensorrt = pytest.mark.skipif(tensorrt.missing() is None, reason="TensorRT can run here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    build(random_base("clip", ["a"], 32), "onnx", "fp32", ("text",), folder)
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return load_engine(folder, threads=1)


def test_nothing_gives_nothing(engine: Engine) -> None:
    assert engine.titles(np.zeros((0, 5), np.int64)).shape == (0, 32)


@pytest.mark.parametrize(
    "tokens",
    [np.ones((2, 1), np.int64), np.ones((2, 33), np.int64), np.ones((2, 5), np.int32), np.ones(5, np.int64)],
)
def test_tokens_of_another_form_are_refused(engine: Engine, tokens: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"want int64 \['n', 2 to 32\]"):
        engine.titles(tokens)


@pytest.mark.parametrize(("shape", "kind"), [((1, 64, 64, 3), "uint8"), ((1, 3, 64, 64), "float32")])
def test_pictures_of_another_form_are_refused(engine: Engine, shape: tuple[int, ...], kind: str) -> None:
    with pytest.raises(InputError, match=r"want uint8 \['n', 3, 64, 64\]"):
        engine.pictures(np.zeros(shape, kind))


def test_a_tower_that_is_not_there_is_named(engine: Engine) -> None:
    with pytest.raises(InputError, match="no image tower, only text"):
        engine.pictures(np.zeros((1, 3, 64, 64), np.uint8))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "onnx"}'])
def test_a_damaged_description_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / "engine.json").write_text(content)
    with pytest.raises(StateError, match=r"engine\.json can't be read"):
        load_engine(tmp_path)


def test_a_missing_file_is_reported(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "text.onnx").unlink()
    with pytest.raises(StateError, match=r"text\.onnx is missing"):
        load_engine(tmp_path)


@pytest.mark.parametrize(("kind", "precision"), [("onnx", "bf16"), ("tensorrt", "bf16")])
def test_a_precision_that_can_not_be_is_refused(kind: Kind, precision: Precision) -> None:
    with pytest.raises(InputError, match="fp32 or fp16, not as bf16"):
        check(kind, precision)


@without_tensorrt
def test_without_tensorrt_the_command_says_how_to_get_it() -> None:
    with pytest.raises(InputError, match=r"pip install tensorrt.*NVIDIA GPU"):
        check("tensorrt", "fp16")


@without_tensorrt
def test_a_tensorrt_folder_falls_back_to_its_onnx_files(
    folder: Path, tmp_path: Path, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    replace(Spec.read(folder), kind="tensorrt").write(tmp_path)
    with caplog.at_level(logging.WARNING):
        fallen = load_engine(tmp_path, threads=1)
    assert fallen.runs_on == "onnx" and "running its ONNX files instead" in caplog.text
    tokens = np.array([[49406, 320, 49407]])
    np.testing.assert_array_equal(fallen.titles(tokens), engine.titles(tokens))


def test_a_plan_belongs_to_one_library_gpu_and_model() -> None:
    key = tensorrt.key_of("10.9", "H200", (9, 0), "abc")
    others = {
        tensorrt.key_of("10.10", "H200", (9, 0), "abc"),
        tensorrt.key_of("10.9", "H100", (9, 0), "abc"),
        tensorrt.key_of("10.9", "H200", (8, 9), "abc"),
        tensorrt.key_of("10.9", "H200", (9, 0), "abd"),
    }
    assert len(others | {key}) == 5 and len(key) == 16
    assert key == tensorrt.key_of("10.9", "H200", (9, 0), "abc")


def test_profiles_span_what_the_towers_take(folder: Path) -> None:
    spec = Spec.read(folder)
    assert tensorrt.profile_of(spec, "text") == ((1, 2), (64, 8), (256, 32))
    assert tensorrt.profile_of(spec, "image") == ((1, 3, 64, 64), (64, 3, 64, 64), (256, 3, 64, 64))
    fixed = replace(spec, shortest=32)
    assert tensorrt.profile_of(fixed, "text") == ((1, 32), (64, 32), (256, 32))


def test_the_description_survives_a_round_trip(folder: Path) -> None:
    spec = Spec.read(folder)
    assert json.loads((folder / "engine.json").read_text())["files"] == spec.files
    assert spec.picture_size == (64, 64) and spec.towers == ("text",)
