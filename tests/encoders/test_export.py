"""Exported towers say what torch says, for every family of models; damaged ones are refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from mmprod.encoders.clip import Encoder
from mmprod.encoders.export import onnx as onnx_file
from mmprod.encoders.export.build import build
from mmprod.encoders.export.engine import Engine, load_engine
from mmprod.encoders.export.gate import Limits, Report, Truth, gate, recall
from mmprod.encoders.export.inputs import Inputs, pixels, tokens, with_hard_ones
from mmprod.encoders.export.modules import TextTower
from mmprod.encoders.export.spec import Kind, Precision, Spec, Tower, files_of
from mmprod.encoders.random_base import random_base
from mmprod.storage.errors import InputError, StateError

BOTH: tuple[Tower, ...] = ("image", "text")
STRICT, HALF = Limits(0.99999, 0.999), Limits(0.9995, 0.8)  # random towers hardly tell inputs apart
Exported = Callable[..., tuple[Encoder, Path]]
WORDS = ["red", "blue", "green", "lamp", "dress", "mug", "table", "small", "steel", "wood", "灯", "红色"]


def _inputs() -> Inputs:
    rng = np.random.default_rng(0)
    noise = (rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(40))
    pictures = tuple(Image.fromarray(colours).resize((90, 70)) for colours in noise)
    titles = tuple(" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(40))
    return Inputs(tuple(map(str, range(40))), pictures, titles)


INPUTS = with_hard_ones(_inputs())


@dataclass(frozen=True)
class Case:
    """An encoder, what torch makes of the inputs, and its fp32 ONNX folder."""

    encoder: Encoder
    truth: Truth
    folder: Path

    def gate(self, folder: Path, limits: Limits = STRICT) -> Report:
        return gate(load_engine(folder, threads=1), self.encoder, self.truth, limits)


@pytest.fixture(scope="module")
def case(exported: Exported) -> Case:
    encoder, folder = exported("clip")
    return Case(encoder, Truth.of(encoder, INPUTS), folder)


def sign(folder: Path, **changes: object) -> None:
    """Make engine.json agree with what lies in the folder, whatever that is."""
    spec = json.loads((folder / "engine.json").read_text())
    Spec(**(spec | {"files": files_of(folder)} | changes)).write(folder)


def test_an_engine_says_what_torch_says(case: Case) -> None:
    assert not case.gate(case.folder).refused


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["siglip", "chinese-clip", "blip"])
def test_so_do_those_of_other_families(kind: str, exported: Exported) -> None:
    encoder, folder = exported(kind)
    spec = Spec.read(folder)
    assert not gate(load_engine(folder, threads=1), encoder, Truth.of(encoder, INPUTS), STRICT).refused
    assert (spec.shortest == spec.longest) == (kind == "siglip")  # which sees its padding


@pytest.mark.slow
def test_so_does_a_residual_network(encoder: Encoder, tmp_path: Path) -> None:
    build(encoder, "onnx", "fp32", ("image",), tmp_path)
    assert not gate(load_engine(tmp_path, threads=1), encoder, Truth.of(encoder, INPUTS), STRICT).refused


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "precision", "towers", "limits"),
    [
        ("openvino", "fp32", ("image",), STRICT),
        ("openvino", "fp16", ("text",), HALF),
        ("openvino", "bf16", BOTH, HALF),
    ],
)
def test_openvino_keeps_to_the_limits_of_its_precision(
    case: Case, tmp_path: Path, kind: Kind, precision: Precision, towers: tuple[Tower, ...], limits: Limits
) -> None:
    build(case.encoder, kind, precision, towers, tmp_path)
    assert not case.gate(tmp_path, limits).refused


def test_fp16_takes_half_the_room(case: Case, tmp_path: Path) -> None:
    build(case.encoder, "onnx", "fp16", ("text",), tmp_path)
    sizes = [(folder / "text.onnx").stat().st_size for folder in (tmp_path, case.folder)]
    assert sizes[0] < 0.6 * sizes[1]
    assert not case.gate(tmp_path, HALF).refused


def test_any_batch_and_length_gives_the_same_vector(case: Case) -> None:
    engine, ids = load_engine(case.folder, threads=1), tokens(case.encoder, ["a red mug"])
    alone = engine.trimmed_titles(ids)
    for length in (engine.spec.longest, 9, 17):
        np.testing.assert_allclose(
            engine.titles(np.repeat(ids[:, :length], 5, 0)), alone.repeat(5, 0), atol=1e-6
        )
    assert engine.titles(np.array([[49406, 49407]])).shape == (1, 64)


def test_large_weights_lie_beside(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "LARGEST", 0)
    spec = build(case.encoder, "onnx", "fp32", ("image",), tmp_path)
    assert spec.files.keys() == {"image.onnx", "image.onnx.data", "raw.json", "tokenizer.json"}
    assert not case.gate(tmp_path).refused


Change = Callable[[dict[str, np.ndarray]], None]


def _damaged(case: Case, folder: Path, tower: Tower, change: Change) -> Path:
    """A copy whose tower's weights are changed, and whose engine.json says that all is well."""
    shutil.copytree(case.folder, folder, dirs_exist_ok=True)
    model = onnx.load(folder / f"{tower}.onnx")
    weights = {item.name: numpy_helper.to_array(item).copy() for item in model.graph.initializer}
    change(weights)
    for item in model.graph.initializer:
        item.CopyFrom(numpy_helper.from_array(weights[item.name], item.name))
    onnx.save(model, folder / f"{tower}.onnx")
    sign(folder)
    return folder


def _matrices(weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The first matrices of the MLPs, 64 to 256."""
    return [w for _, w in sorted(weights.items()) if w.shape == (64, 256)]


def _noise(weights: dict[str, np.ndarray]) -> None:
    first = _matrices(weights)[0]
    first *= 1 + 0.2 * np.random.default_rng(0).standard_normal(first.shape, dtype=np.float32)


def _nothing(weights: dict[str, np.ndarray]) -> None:
    _matrices(weights)[0][:] = 0


def _one_nan(weights: dict[str, np.ndarray]) -> None:
    _matrices(weights)[-1][0, 0] = np.nan


def _all_alike(weights: dict[str, np.ndarray]) -> None:
    for weight in weights.values():
        if weight.dtype == np.float32:
            weight[...] = 0.01


@pytest.mark.parametrize("tower", BOTH)
@pytest.mark.parametrize("change", [_noise, _nothing, _one_nan, _all_alike])
def test_a_damaged_engine_is_refused(case: Case, tmp_path: Path, tower: Tower, change: Change) -> None:
    report = case.gate(_damaged(case, tmp_path, tower, change))
    assert {check.tower for check in report.refused} == {tower}
    assert "cosine" in {check.name for check in report.refused}
    worst = next(check for check in report.refused if check.name == "cosine")
    assert f"{worst.value:.9g}" in str(worst) and str(worst.limit) in str(worst)


def test_swapped_colour_channels_are_refused(case: Case, tmp_path: Path) -> None:
    def swap(weights: dict[str, np.ndarray]) -> None:
        (patches,) = (w for w in weights.values() if w.ndim == 4 and w.shape[1] == 3 and w.shape[0] > 1)
        patches[:] = patches[:, ::-1]

    refused = case.gate(_damaged(case, tmp_path, "image", swap)).refused
    assert {check.name for check in refused} >= {"cosine", "picture → picture recall@10"}
    assert all(check.worst not in ("black", "white") for check in refused if check.name == "cosine")


def test_the_text_tower_of_another_model_is_refused(case: Case, tmp_path: Path) -> None:
    other = random_base("clip", INPUTS.titles, 64, seed=1)
    shutil.copytree(case.folder, tmp_path, dirs_exist_ok=True)
    onnx_file.write(TextTower(other.model, other.tokenizer), "fp32", tmp_path / "text.onnx")
    sign(tmp_path)
    assert len(case.gate(tmp_path).refused) == 3


def test_swapped_towers_are_refused(case: Case, tmp_path: Path) -> None:
    for name, other in (("image", "text"), ("text", "image")):
        shutil.copy(case.folder / f"{name}.onnx", tmp_path / f"{other}.onnx")
    shutil.copy(case.folder / "engine.json", tmp_path)
    with pytest.raises(StateError, match="sha256"):
        load_engine(tmp_path)
    sign(tmp_path)
    with pytest.raises(StateError, match="'tokens', want 'pictures'"):
        load_engine(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_refused(case: Case, tmp_path: Path, share: float) -> None:
    shutil.copytree(case.folder, tmp_path, dirs_exist_ok=True)
    content = (tmp_path / "image.onnx").read_bytes()
    (tmp_path / "image.onnx").write_bytes(content[: int(share * len(content))])
    with pytest.raises(StateError, match=r"image\.onnx has sha256"):
        load_engine(tmp_path)
    sign(tmp_path)
    with pytest.raises(StateError, match=r"image\.onnx"):
        load_engine(tmp_path)


def test_recall_by_hand() -> None:
    true = np.array([[0.9, 0.8, 0.5, 0.1], [0.4, 0.4, 0.4, 0.3]])
    scores = np.array([[0.1, 0.8, 0.9, 0.5], [0.0, 0.1, 0.3, 0.2]])
    np.testing.assert_array_equal(recall(true, scores, 2), [0.5, 0.5])
    np.testing.assert_array_equal(
        recall(true, np.array([[0, 1, 0, 0], [0, 0, 1, 0]]), 1), [0, 1]
    )  # 0.4 stands for 0.4


def test_too_few_inputs_are_no_verdict() -> None:
    few = Inputs(INPUTS.names[:9], INPUTS.pictures[:9], INPUTS.titles)
    with pytest.raises(InputError, match="9 pictures and 46 titles"):
        with_hard_ones(few)


def test_pixels_are_the_transform_without_its_end(case: Case) -> None:
    seen = pixels(case.encoder, INPUTS.pictures[:7])
    assert seen.dtype == np.uint8
    config = case.encoder.model.visual.preprocess_cfg  # type: ignore[union-attr]
    mean, deviation = (np.array(config[key])[:, None, None] for key in ("mean", "std"))  # type: ignore[index]
    wanted = np.stack([case.encoder.transform(picture).numpy() for picture in INPUTS.pictures[:7]])
    np.testing.assert_allclose((seen / 255 - mean) / deviation, wanted, atol=1e-5)


def test_an_unknown_end_of_the_transform_is_refused(case: Case) -> None:
    steps = case.encoder.transform.transforms[:-1]  # type: ignore[attr-defined]
    other = replace(case.encoder, transform=type(case.encoder.transform)(steps))
    with pytest.raises(InputError, match="ToTensor"):
        pixels(other, INPUTS.pictures[:1])


def test_engines_are_values(case: Case) -> None:
    engine: Engine = load_engine(case.folder)
    assert engine.runs_on == "onnx" and engine.spec.encoder == case.encoder.fingerprint
    with pytest.raises(AttributeError):
        engine.runs_on = "magic"  # type: ignore[misc]
