"""What encodes products: measured where that pays, kept, the same after a kill, and never a wrong engine."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmprod.cli.app import app
from mmprod.config import Config, load
from mmprod.doctor import computing
from mmprod.encoders.backends import TORCH, fastest
from mmprod.encoders.clip import Encoder
from mmprod.encoders.export.encoder import ExportedEncoder
from mmprod.lake import Lake
from mmprod.stages import backend
from mmprod.stages.backend import embedding_encoder, figures_folder, measure_again, measured_before
from mmprod.stages.daily.embed import bring_up, embed_shard, open_embeddings, read_embeddings
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.daily.run import run_day
from mmprod.stages.daily.shard import encode_shard
from mmprod.stages.encoder import load_encoder
from mmprod.stages.store import open_store
from mmprod.storage import artifacts
from mmprod.storage.errors import GateError

ONNX = "onnx-fp32"
LOOK = """
import sys
from mmprod.cli.app import main
sys.argv = ["mmprod", "embed"]
try:
    main()
finally:
    print("open_clip" in sys.modules, "onnxruntime" in sys.modules)
"""


def with_backend(world: Any, name: str, **more: object) -> Config:
    """The configuration of a world, with another backend."""
    wanted = {"encoder.backend": name, **{f"encoder.{key}": value for key, value in more.items()}}
    return load(world.folder / "mmprod.toml", wanted).config


def opened(world: Any, config: Config) -> Any:
    with open_store(world.lake, config) as store:
        return embedding_encoder(world.lake, config, store)


def made(world: Any) -> dict[str, dict[str, int]]:
    return read_embeddings(world.lake, world.config).backends()


def fingerprint(lake: Lake) -> str:
    found = lake.encoder_fingerprint("lake:tiny")
    assert found
    return found


def copied(world: Any, folder: Path) -> Any:
    shutil.copytree(world.folder, folder)
    return type(world)(folder)


@pytest.fixture(scope="module")
def chosen(_world, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A world whose first day had so much to encode that all backends were measured."""
    world = copied(_world, tmp_path_factory.mktemp("chosen") / "world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "PICTURES", 20)
        world.run(1)
    return world


@pytest.fixture(scope="module")
def measured(grown, chosen, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A world after its first day, encoded by torch, whose configuration now names an engine, measured."""
    world = copied(grown, tmp_path_factory.mktemp("measured") / "world")
    shutil.copytree(chosen.lake.root / "engines", world.lake.root / "engines")  # making them takes seconds
    settings = world.folder / "mmprod.toml"
    settings.write_text(settings.read_text().replace("[encoder]", f'[encoder]\nbackend = "{ONNX}"'))
    with open_store(world.lake, world.config) as store:
        measure_again(world.lake, world.config, store)
    return world


@pytest.fixture
def engine_world(measured, tmp_path: Path) -> Any:
    """The same, of the test's own."""
    shutil.copytree(measured.folder, tmp_path / "world")
    return type(measured)(tmp_path / "world")


def test_little_to_encode_is_encoded_by_torch_and_nothing_is_recorded(grown) -> None:
    encoder = opened(grown, grown.config)
    assert isinstance(encoder, Encoder) and encoder.backend == TORCH
    found = made(grown)
    assert found["image"].keys() == found["text"].keys() == {TORCH}
    assert not (grown.lake.root / "backends").exists() and not (grown.lake.root / "engines").exists()


def test_much_is_measured_once_and_every_later_run_takes_the_same(
    chosen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = copied(chosen, tmp_path / "world")
    encoder, root = fingerprint(world.lake), figures_folder(world.lake, world.config, fingerprint(world.lake))
    found = measured_before(world.lake, world.config, encoder)
    assert found and {TORCH, ONNX} <= found.figures.keys()
    fast = fastest(found.figures, 0.9995)
    assert made(world)["image"].keys() == made(world)["text"].keys() == {fast}
    world.run(2)  # little, but chosen is chosen
    assert made(world)["image"].keys() == made(world)["text"].keys() == {fast}
    assert artifacts.generations(root) == ["g000001"] and artifacts.verify(root / "g000001") == []


def test_on_another_kind_of_machine_it_is_measured_anew(
    chosen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = copied(chosen, tmp_path / "world")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    encoder = fingerprint(world.lake)
    assert measured_before(world.lake, world.config, encoder) is None
    assert opened(world, world.config).backend == TORCH, "nothing is to be encoded"
    shutil.rmtree(world.lake.root / "embeddings")
    monkeypatch.setattr(backend, "PICTURES", 20)
    with open_store(world.lake, world.config) as store:
        encode_shard(world.lake, world.config, store, 0)  # holds no lock, so it takes the lake's for that
    found = measured_before(world.lake, world.config, encoder)
    assert found
    with open_store(world.lake, world.config) as store:
        bring_up(world.lake, world.config, store)
    assert made(world)["image"].keys() == {fastest(found.figures, 0.9995)}
    assert len(list((world.lake.root / "backends").glob("*/auto-*/CURRENT"))) == 2


def test_what_is_known_already_is_not_much_to_encode(grown, monkeypatch: pytest.MonkeyPatch) -> None:
    """All products changed as far as the table's position tells, but their vectors are there."""
    monkeypatch.setattr(backend, "PICTURES", 1)
    monkeypatch.setattr(backend, "TITLES", 1)
    config = with_backend(
        grown, "auto", categories=[grown_category(grown)]
    )  # so it starts from the beginning
    assert opened(grown, config).backend == TORCH
    assert not (grown.lake.root / "backends").exists()


def grown_category(world: Any) -> str:
    with open_store(world.lake, world.config) as store:
        return next(record.category[0] for record in store.iterate() if record.category and record.live)


def test_a_store_too_small_to_compare_on_is_encoded_by_torch(
    world, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    table, day = world.days[0]
    few = tmp_path / "few.parquet"
    pq.write_table(pq.read_table(table).slice(0, 10), few)
    monkeypatch.setattr(backend, "PICTURES", 1)
    run_day(world.lake, world.config, few, day)
    assert made(world)["image"].keys() == {TORCH}
    assert "could not be measured" in caplog.text and "want at least 32" in caplog.text


def test_an_engine_encodes_without_the_model_in_torch(engine_world) -> None:
    table, day = engine_world.days[1]
    with open_store(engine_world.lake, engine_world.config, read_only=False, table=table) as store:
        ingest_table(engine_world.lake, engine_world.config, store, table, day)
    done = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=engine_world.folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False True", done
    assert made(engine_world)["image"][ONNX] > 0


def test_a_changed_title_is_encoded_anew_and_the_picture_keeps_its_backend(engine_world) -> None:
    before = made(engine_world)
    assert isinstance(opened(engine_world, engine_world.config), ExportedEncoder)
    engine_world.run(2)
    after = made(engine_world)
    for modality in ("image", "text"):
        assert after[modality].keys() == {TORCH, ONNX}
        assert 0 < after[modality][TORCH] <= before[modality][TORCH]
    rows = [
        row
        for batch in read_embeddings(engine_world.lake, engine_world.config).batches()
        for row in batch.to_pylist()
    ]
    assert any(row["image_backend"] == TORCH and row["text_backend"] == ONNX for row in rows)
    for modality in ("image", "text"):
        assert all((row[modality] is None) == (row[f"{modality}_backend"] is None) for row in rows)
    told = CliRunner().invoke(app, ["verify", "--lake", str(engine_world.lake.root)])
    assert told.exit_code == 0 and f"{after['image'][ONNX]:,} {ONNX}" in told.stdout, told.output


def test_a_damaged_engine_is_told_of_and_torch_encodes(
    engine_world, caplog: pytest.LogCaptureFixture
) -> None:
    root = engine_world.lake.engines("lake:tiny", fingerprint(engine_world.lake), ONNX)
    path = root / str(artifacts.current(root)) / "text.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    encoder = opened(engine_world, engine_world.config)
    assert isinstance(encoder, Encoder) and encoder.backend == TORCH
    assert f"torch encodes instead of the engine {ONNX}" in caplog.text and "text.onnx" in caplog.text


def test_a_backend_below_the_limit_is_refused_by_name_and_passed_over_by_auto(measured) -> None:
    found = measured_before(measured.lake, measured.config, fingerprint(measured.lake))
    assert found and found.figures[ONNX].cosine < 1
    with pytest.raises(GateError, match=r"worst cosine with torch-fp32 is \S+, encoder.min_cosine 1.0"):
        opened(measured, with_backend(measured, ONNX, min_cosine=1.0))
    assert found.choice(with_backend(measured, "auto", min_cosine=1.0)) == TORCH


def test_doctor_says_what_encodes_and_why(measured) -> None:
    lake = measured.lake
    found = computing.backend(lake, measured.config)
    assert found.level == "ok" and found.text.startswith(f"{ONNX}: ") and "worst cosine" in found.text
    assert (
        "the first run that encodes 3,000 pictures"
        in computing.backend(lake, with_backend(measured, "auto")).text
    )
    assert computing.backend(lake, with_backend(measured, TORCH)).text == f"{TORCH}: encoder.backend"
    assert computing.backend(lake, with_backend(measured, ONNX, min_cosine=1.0)).level == "problem"


def test_the_figures_are_shown(measured) -> None:
    line = [
        "encoder",
        "backend",
        "--config",
        str(measured.folder / "mmprod.toml"),
        "--lake",
        str(measured.lake.root),
    ]
    shown = json.loads(CliRunner().invoke(app, [*line, "--json"]).stdout)
    assert shown["backend"] == ONNX and shown["figures"]["backends"].keys() == {TORCH, ONNX}
    assert ONNX in CliRunner().invoke(app, line).stdout


def test_a_part_of_the_version_before_is_taken_and_its_backend_is_unknown(world) -> None:
    table, day = world.days[0]
    with open_store(world.lake, world.config, read_only=False, table=table) as store:
        ingest_table(world.lake, world.config, store, table, day)
        encoder = load_encoder(world.lake, world.config)
        embeddings = open_embeddings(world.lake, world.config, encoder)
        embed_shard(world.config, store, embeddings, encoder, 0)
        (part,) = (embeddings.root / "parts").glob("*.parquet")
        before = pq.read_table(part).drop_columns(["image_backend", "text_backend"])
        pq.write_table(before, part, write_page_checksum=True)
        bring_up(world.lake, world.config, store)
    assert made(world)["image"].keys() == made(world)["text"].keys() == {""}


@pytest.mark.slow
def test_killed_and_run_again_with_an_engine_equals_undisturbed(
    measured,
    forked_day: Callable[..., Any],
    content: Callable[[Path], dict[str, str]],
    tmp_path: Path,
) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for folder in (calm, killed):
        shutil.copytree(measured.folder, folder)
    assert forked_day(calm, 2).status == 0
    assert forked_day(killed, 2, MMPROD_FAULT="embed.committed:2:kill").status == -9
    assert forked_day(killed, 2).status == 0
    assert content(killed) == content(calm)
    assert made(type(measured)(calm))["image"][ONNX] > 0
