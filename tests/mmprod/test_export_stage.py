"""Export as a stage: what passes is published, what does not is not, the same again is kept."""

from pathlib import Path

import numpy as np
import pytest

from mmprod.config import Config, load
from mmprod.encoders.export.engine import load_engine
from mmprod.lake import Lake
from mmprod.stages.encoder import load_encoder
from mmprod.stages.needs import engine_bytes
from mmprod.stages.training.export import copy_engine, export_engine
from mmprod.storage import artifacts
from mmprod.storage.errors import InputError, StateError


def _config(lake: Lake, **export: float) -> Config:
    overrides = {"lake": str(lake.root), **{f"export.{key}": value for key, value in export.items()}}
    return load(overrides=overrides).config


@pytest.fixture(scope="module")
def exported(grown) -> tuple[Lake, Path]:  # type: ignore[no-untyped-def]
    outcome = export_engine(grown.lake, grown.config, "onnx", "fp32", ("image", "text"))
    assert outcome.changed == 2 and outcome.detail["gate"]["passed"]
    return grown.lake, Path(outcome.detail["folder"])


def test_an_engine_is_an_artifact_with_its_figures(exported: tuple[Lake, Path]) -> None:
    _, folder = exported
    manifest = artifacts.Manifest.read(folder)
    assert artifacts.current(folder.parent) == folder.name and not artifacts.verify(folder)
    checks = manifest.counts["gate"]["checks"]
    assert [check["tower"] for check in checks] == ["image"] * 3 + ["text"] * 3
    assert all(check["value"] >= check["limit"] for check in checks)
    assert manifest.inputs["libraries"].keys() == {"torch", "onnxscript", "onnxruntime"}
    assert manifest.config["precision"] == "fp32" and manifest.counts["opset"] >= 18


def test_it_takes_about_the_disk_that_is_asked_for(exported: tuple[Lake, Path]) -> None:
    lake, folder = exported
    model = load_encoder(lake, _config(lake)).model
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    written = sum(path.stat().st_size for path in folder.iterdir())
    assert written <= engine_bytes("onnx", "fp32", weights) <= 2 * written + 1_000_000


def test_its_vectors_are_the_encoders(exported: tuple[Lake, Path]) -> None:
    lake, folder = exported
    encoder, engine = load_encoder(lake, _config(lake)), load_engine(folder, threads=1)
    assert engine.spec.encoder == encoder.fingerprint
    titles = ["red lamp", "极简风客厅灯"]
    np.testing.assert_allclose(
        engine.trimmed_titles(encoder.tokenizer(titles).numpy()), encoder.titles(titles), atol=1e-5
    )


def test_the_same_again_is_kept(exported: tuple[Lake, Path]) -> None:
    lake, folder = exported
    outcome = export_engine(lake, _config(lake), "onnx", "fp32", ("image", "text"))
    assert outcome.reused == 2 and outcome.detail["folder"] == str(folder)


def test_a_refused_engine_is_not_published(exported: tuple[Lake, Path]) -> None:
    lake, folder = exported
    with pytest.raises(StateError, match=r"cosine 0\.99\d+, limit 1\.0, worst at"):
        export_engine(lake, _config(lake, min_cosine_half=1.0), "onnx", "fp16", ("image",))
    root = folder.parent.with_name("onnx-fp16")
    assert artifacts.generations(root) == [] and artifacts.current(root) is None and not list(root.iterdir())


def test_the_inputs_may_come_from_a_folder(exported: tuple[Lake, Path], tmp_path: Path) -> None:
    lake, _ = exported
    with pytest.raises(InputError, match=r"no titles\.txt"):
        export_engine(lake, _config(lake), "onnx", "fp32", ("text",), tmp_path)
    (tmp_path / "titles.txt").write_text("red mug\nblue lamp\n")
    with pytest.raises(InputError, match="0 pictures and 2 titles"):
        export_engine(lake, _config(lake), "onnx", "fp32", ("text",), tmp_path)


def test_without_a_store_a_folder_is_asked_for(exported: tuple[Lake, Path], tmp_path: Path) -> None:
    lake, _ = exported
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "encoders").symlink_to(lake.root / "encoders")
    bare = Lake(tmp_path / "lake")
    with pytest.raises(InputError, match="name a folder with --samples"):
        export_engine(bare, _config(bare), "onnx", "fp32", ("text",))


def test_a_copy_is_whole(exported: tuple[Lake, Path], tmp_path: Path) -> None:
    copy_engine(exported[1], tmp_path / "models" / "shop")
    assert load_engine(tmp_path / "models" / "shop").spec == load_engine(exported[1]).spec
