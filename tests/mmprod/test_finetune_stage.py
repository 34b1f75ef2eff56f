"""Fine-tuning as users run it: what is published, resuming after kill -9, tasks, bases, refusals."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmprod.config import load as load_config
from mmprod.datasets.pairs.pairs import identity
from mmprod.datasets.store.store import Store
from mmprod.encoders.clip import load, save
from mmprod.lake import Lake
from mmprod.report.page import render
from mmprod.report.training import training_page
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.store import open_store
from mmprod.stages.training.bases import make_base
from mmprod.stages.training.finetune import finetune_encoder
from mmprod.storage import artifacts
from mmprod.storage.errors import InputError, StateError

SHORT = {"steps": 6, "batch_size": 16, "eval_steps": 3, "checkpoint_steps": 2, "warmup": 2, "lr": 1e-4}


def config_with(world, model: str = "lake:tiny", **options: Any) -> Any:
    config = world.config
    encoder = config.encoder.model_copy(update={"model": model})
    finetune = config.finetune.model_copy(update=SHORT | options)
    return config.model_copy(update={"encoder": encoder, "finetune": finetune})


def short(*words: str) -> list[str]:
    options = [part for key, value in SHORT.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    return ["finetune", *options, *words, "--json"]


@pytest.fixture(scope="module")
def tuned(_world, tmp_path_factory: pytest.TempPathFactory):
    """A world after its first day in which `lake:shop` was fine-tuned from `lake:tiny`, and what was told."""
    folder = tmp_path_factory.mktemp("tuned") / "world"
    shutil.copytree(_world.folder, folder)
    world = type(_world)(folder)
    world.run(1)
    return world, finetune_encoder(world.lake, config_with(world), world.lake.store, "retrieval", "shop")


def test_the_best_model_is_published_as_an_encoder_with_its_card(tuned) -> None:
    world, outcome = tuned
    encoder = load(world.lake.encoder_name("lake:shop"))
    base = load(world.lake.encoder_name("lake:tiny"))
    with artifacts.opened(world.lake.encoder("shop")) as generation:
        counts = generation.manifest.counts
        card = (generation.path / "README.md").read_text()
    assert counts["fingerprint"] == encoder.fingerprint != base.fingerprint
    assert counts["before"].keys() == counts["measures"].keys() >= {"R@1", "R@5", "R@10", "mAP"}
    assert 0 <= counts["measures"]["mAP"] <= 1
    assert "held out" in card
    assert f"{counts['pairs']:,}" in card
    assert outcome.rows == outcome.changed + outcome.refused
    assert outcome.detail["generation"] == "g000001"


def test_done_is_not_done_again_and_other_options_are_another_run(tuned) -> None:
    world, outcome = tuned
    again = finetune_encoder(world.lake, config_with(world), world.lake.store, "retrieval", "shop")
    assert (again.changed, again.detail["generation"]) == (0, "g000001")
    other = config_with(world, seed=1)
    finetune_encoder(world.lake, other, world.lake.store, "retrieval", "shop-other-seed")
    assert len(list(world.lake.training("shop").iterdir())) == 1
    assert load(world.lake.encoder_name("lake:shop-other-seed")).fingerprint != outcome.detail["fingerprint"]


def test_training_and_held_out_pairs_share_nothing(tuned) -> None:
    world, _ = tuned
    pairs = pq.read_table(next(world.lake.training("shop").glob("*/pairs.parquet")))
    split = pairs["split"].to_numpy(zero_copy_only=False)
    for number in identity(pairs).T:
        assert set(number[split == "train"]) & set(number[split == "held_out"]) <= {-1}


def test_the_page_of_a_run_shows_curves_measures_and_pictures(tuned) -> None:
    world, _ = tuned
    html = render(training_page(world.lake, world.config, "shop"))
    assert "data:image/svg+xml;base64," in html
    assert html.count("data:image/jpeg;base64,") > 20
    assert "R@10" in html
    with pytest.raises(InputError, match="no encoder 'nothing'"):
        training_page(world.lake, world.config, "nothing")


@pytest.mark.slow
@pytest.mark.parametrize("time", [1, 3])
def test_killed_at_a_checkpoint_and_run_again_gives_the_same_encoder(tuned, world, forked, time: int) -> None:
    """It continues from the checkpoint before, and its weights are those of an undisturbed run."""
    _, undisturbed = tuned
    world.run(1)
    words = short("--name", "shop")
    fault = f"checkpoint.written:{time}:kill"
    assert forked.mmprod(*words, folder=world.folder, MMPROD_FAULT=fault).status == -9
    assert not artifacts.generations(world.lake.encoder("shop"))
    done = forked.mmprod(*words, folder=world.folder)
    told = json.loads(done.out)["stages"][0]["detail"]
    assert told["fingerprint"] == undisturbed.detail["fingerprint"]


@pytest.mark.slow
def test_two_processes_under_torchrun_publish_one_encoder(tuned, world) -> None:
    world.run(1)
    words = short("--name", "twin", "--config", str(world.folder / "mmprod.toml"), "--batch-size", "8")
    programs = Path(sys.executable).parent
    torchrun = [str(programs / "torchrun"), "--nproc-per-node", "2", "--no-python", str(programs / "mmprod")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*torchrun, *words], env=environment, capture_output=True, check=True)
    assert artifacts.generations(world.lake.encoder("twin")) == ["g000001"]
    assert load(world.lake.encoder_name("lake:twin")).width == 128


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clip", "siglip", "chinese-clip", "blip"])
def test_every_kind_of_base_is_fine_tuned_and_loads_again(tuned, tmp_path: Path, kind: str) -> None:
    world, _ = tuned
    base = tmp_path / kind
    make_base(world.config, kind, world.folder / "catalogue" / "train.parquet", base)
    config = config_with(world, f"local-dir:{base}", queue_size=32)
    outcome = finetune_encoder(world.lake, config, world.lake.store, "retrieval", kind)
    assert load(world.lake.encoder_name(f"lake:{kind}")).fingerprint == outcome.detail["fingerprint"]


@pytest.mark.slow
@pytest.mark.parametrize("retrieves", [True, False])
def test_captions_are_fine_tuned_and_judged_by_bleu_and_rouge(tuned, tmp_path: Path, retrieves: bool) -> None:
    """Also from a base that can do nothing else."""
    world, _ = tuned
    base = tmp_path / "blip"
    encoder = make_base(world.config, "blip", world.folder / "catalogue" / "train.parquet", base)
    if not retrieves:
        encoder.model.retrieves = False
        shutil.rmtree(base)
        base.mkdir()
        save(encoder, base)
    config = config_with(world, f"local-dir:{base}")
    finetune_encoder(world.lake, config, world.lake.store, "caption", "writer")
    with artifacts.opened(world.lake.encoder("writer")) as generation:
        assert generation.manifest.counts["measures"].keys() == {"BLEU", "ROUGE-L"}
    assert "Captions" in render(training_page(world.lake, world.config, "writer"))


def test_what_a_base_or_a_catalogue_cannot_do_is_refused_before_training(tuned) -> None:
    world, _ = tuned
    store = world.lake.store
    with pytest.raises(InputError, match="BLIP"):
        finetune_encoder(world.lake, config_with(world), store, "caption", "x")
    with pytest.raises(InputError, match="spu_id"):
        finetune_encoder(world.lake, config_with(world), store, "same-item", "x")
    with pytest.raises(InputError, match="batch"):
        finetune_encoder(world.lake, config_with(world, batch_size=5000), store, "retrieval", "x")
    with pytest.raises(InputError, match="mAP"):
        finetune_encoder(world.lake, config_with(world, metric="speed"), store, "retrieval", "x")
    with pytest.raises(StateError, match="no product store"):
        finetune_encoder(world.lake, config_with(world), world.folder / "nowhere", "retrieval", "x")
    assert not world.lake.encoder("x").exists()


def test_same_item_learns_from_listings_that_share_an_spu(tuned, tmp_path: Path) -> None:
    """Every product listed twice under one spu_id, as two sellers would."""
    world, _ = tuned
    first = pq.read_table(world.days[0][0])
    rows = first.to_pylist()
    twice = [row | {"spu_id": row["product_id"]} for row in rows]
    twice += [row | {"product_id": "R" + row["product_id"], "title": f"{row['title']} new"} for row in twice]
    table = tmp_path / "twice.parquet"
    pq.write_table(pa.Table.from_pylist(twice, schema=first.schema), table)
    lake = Lake(tmp_path / "lake")
    with open_store(lake, world.config, read_only=False) as store:
        ingest_table(lake, world.config, store, table, world.days[0][1])
    finetune_encoder(world.lake, config_with(world), lake.store, "same-item", "items")
    with artifacts.opened(world.lake.encoder("items")) as generation:
        assert generation.manifest.counts["measures"].keys() == {
            "picture only R@1",
            "title only R@1",
            "1:1 R@1",
            "7:3 R@1",
        }
    with Store.open(lake.store, read_only=True) as store:
        assert store.stats().live == len(twice)


RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_train_as_they_are_on_a_small_base(tuned, tmp_path: Path, recipe: Path) -> None:
    """Every setting of a recipe but its size, on a tiny base of the same kind."""
    world, _ = tuned
    base = tmp_path / recipe.stem
    make_base(world.config, recipe.stem, world.folder / "catalogue" / "train.parquet", base)
    smaller = {"steps": 3, "batch_size": 8, "queue_size": 16, "eval_steps": 3, "workers": 0}
    overrides = {f"finetune.{name}": value for name, value in smaller.items()}
    overrides |= {"lake": str(world.lake.root), "pairs.sales_quantile": 0, "pairs.held_out": 0.1}
    config = load_config(recipe, overrides).config
    encoder = config.encoder.model_copy(update={"model": f"local-dir:{base}", "pretrained": None})
    config = config.model_copy(update={"encoder": encoder})
    outcome = finetune_encoder(world.lake, config, world.lake.store, "retrieval", f"by-{recipe.stem}")
    assert outcome.detail["generation"] == "g000001"
