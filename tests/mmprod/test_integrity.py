"""A flipped byte in any published file is reported; nothing made of it is served."""

import os
import random
import shutil
from pathlib import Path

import pytest

from mmprod.stages.daily.embed import open_embeddings
from mmprod.stages.daily.index import build_indexes
from mmprod.stages.daily.recall import read_recall
from mmprod.stages.encoder import load_encoder
from mmprod.stages.open_index import open_index
from mmprod.stages.status import lake_status, prune_lake, verify_lake
from mmprod.stages.store import open_store
from mmprod.storage.errors import StateError

UNPUBLISHED = {"LOCK", ".lock", "lock.mdb", "latest_version_hint.json"}  # locks, and a hint nobody needs


def published(lake: Path) -> list[Path]:
    files = (p for p in lake.rglob("*") if p.is_file() and p.name not in UNPUBLISHED)
    return [p for p in files if p.parent.name != "runs" and p.name != "data.mdb"]


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def test_a_sound_lake_has_no_problems_before_and_after_pruning(world) -> None:
    world.run(1, 2, 3)
    assert verify_lake(world.lake, world.config) == []
    removed = prune_lake(world.lake, keep=1)
    assert {name.split("/")[0] for name in removed} == {"indexes", "recall"}
    assert verify_lake(world.lake, world.config) == []
    rows = {row["what"]: row for row in lake_status(world.lake, world.config)}
    assert rows["indexes/same_item"]["rows"] == rows["store"]["rows"] > 0
    (embed,) = (outcome for outcome in world.run(3)[0] if outcome.stage == "embed")
    assert embed.changed == 0


@pytest.mark.slow
def test_every_published_file_is_guarded(world) -> None:
    settings = world.folder / "mmprod.toml"  # fewer files, of as many kinds
    settings.write_text(settings.read_text().replace("commit_rows = 4", "commit_rows = 60"))
    world.run(1)
    chance = random.Random(0)
    files = published(world.lake.root)
    assert {p.suffix for p in files} >= {".lance", ".manifest", ".faiss", ".parquet", ".json", ".safetensors"}
    for path in files:
        size = path.stat().st_size
        for position in {0, chance.randrange(size), size - 1}:
            flip(path, position)
            try:
                problems = verify_lake(world.lake, world.config)
            except StateError as error:
                problems = [str(error)]
            assert problems, f"byte {position} of {path} flipped unnoticed"
            flip(path, position)
    assert verify_lake(world.lake, world.config) == []


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_flipped_bytes_in_the_store_are_reported(world, where: float) -> None:
    world.run(1)
    path = next(world.lake.store.rglob("data.mdb"))
    with open_store(world.lake, world.config) as store:
        size = store.stats().bytes
        data = path.read_bytes()[:size]
    lake_was_sound = verify_lake(world.lake, world.config) == []
    near = int(size * where)
    picture = max(data.find(b"\xff\xd8\xff", near), data.rfind(b"\xff\xd8\xff", 0, near))
    flip(path, picture + 400)
    assert lake_was_sound
    assert verify_lake(world.lake, world.config)


def test_a_damaged_embedding_file_is_never_made_into_an_index(world) -> None:
    world.run(1)
    encoder = load_encoder(world.lake, world.config)
    table = open_embeddings(world.lake, world.config, encoder)
    data = max((world.lake.root / "embeddings").rglob("data/*.lance"), key=lambda p: p.stat().st_size)
    flip(data, data.stat().st_size // 2)
    shutil.rmtree(world.lake.index("same_item"))
    with open_store(world.lake, world.config) as store, pytest.raises(StateError, match="sha256"):
        build_indexes(world.lake, world.config, store, table, ["same_item"])


def test_a_damaged_index_and_recall_table_are_refused(world) -> None:
    world.run(1)
    index = next(world.lake.index("same_item").glob("g*/index.faiss"))
    flip(index, index.stat().st_size // 2)
    with pytest.raises(StateError, match="sha256"), open_index(world.lake, "same_item"):
        pass
    recall = next(world.lake.recall("same_item").glob("g*/recall.parquet"))
    flip(recall, recall.stat().st_size // 2)
    with pytest.raises(StateError, match="sha256"):
        read_recall(world.lake, "same_item")


def test_a_damaged_encoder_is_not_loaded(world) -> None:
    weights = next(world.lake.root.rglob("*.safetensors"))
    flip(weights, weights.stat().st_size - 5)
    with pytest.raises(StateError, match="sha256"):
        load_encoder(world.lake, world.config)


def test_a_table_of_another_encoder_is_refused_with_both(world) -> None:
    from mmprod.datasets.embeddings.table import EmbeddingTable

    root = world.lake.root / "embeddings" / "x"
    EmbeddingTable(root, "a" * 64, 128, 1)
    with pytest.raises(StateError, match="b" * 64) as caught:
        EmbeddingTable(root, "b" * 64, 128, 1)
    assert "a" * 64 in str(caught.value)


def test_every_folder_of_a_new_lake_is_synced_into_the_one_above_it(world, monkeypatch) -> None:
    """A power cut must not take a folder away whose files were synced."""
    held: dict[Path, set[str]] = {}
    real = os.fsync

    def noting(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.is_dir():
            held.setdefault(path, set()).update(inside.name for inside in path.iterdir())
        real(fd)

    monkeypatch.setattr(os, "fsync", noting)
    before = set(world.lake.root.rglob("*"))
    world.run(1)
    made = [path for path in world.lake.root.rglob("*") if path.is_dir() and path not in before]
    names = {path.name for path in made}
    assert names >= {"store", "shard-000", "changes", "embeddings", "indexes", "same_item", "recall", "runs"}
    assert [path for path in made if path.name not in held.get(path.parent, ())] == []
