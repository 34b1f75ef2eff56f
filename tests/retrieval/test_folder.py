"""A generation's folder is opened whole and consistent, or not at all."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmprod.retrieval import folder, index
from mmprod.retrieval.generation import Generation
from mmprod.storage.errors import InputError, StateError

FILES = (folder.INDEX, folder.ITEMS, folder.BUILD)


def test_what_is_saved_opens_the_same(catalogue: Callable, tmp_path: Path) -> None:
    made = catalogue(200, (0.7, 0.3))
    generation = Generation.open(made.save(tmp_path / "g"))
    assert generation.build == made.build()
    assert generation.ids.to_pylist() == made.items["product_id"].to_pylist()
    assert sorted(path.name for path in (tmp_path / "g").iterdir()) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_byte_is_found_by_the_checksums(name: str, catalogue: Callable, tmp_path: Path) -> None:
    path = catalogue(100, (0.5, 0.5)).save(tmp_path / "g") / name
    recorded = {file: hashlib.sha256((path.parent / file).read_bytes()).hexdigest() for file in FILES}
    Generation.open(path.parent, recorded)
    content = path.read_bytes()
    for place in np.random.default_rng(0).choice(len(content), 25, replace=False):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(StateError, match=f"recorded is {recorded[name]}"):
            Generation.open(path.parent, recorded)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_or_missing_file(name: str, share: float, catalogue: Callable, tmp_path: Path) -> None:
    path = catalogue(300, (0.5, 0.5)).save(tmp_path / "g") / name
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(StateError, match=name):
        Generation.open(path.parent)
    path.unlink()
    with pytest.raises(StateError, match=f"{name} is missing"):
        Generation.open(path.parent)


def test_flipped_item_data_is_found_without_a_checksum(catalogue: Callable, tmp_path: Path) -> None:
    made = catalogue(300, (0.5, 0.5))
    path = made.save(tmp_path / "g") / folder.ITEMS
    content, refused = path.read_bytes(), 0
    for place in range(4, len(content) // 2, 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:  # a few bytes of a page header mean nothing; no other may pass
            assert Generation.open(path.parent).ids.to_pylist() == made.items["product_id"].to_pylist()
        except StateError:
            refused += 1
    assert refused > 100


def test_parts_of_different_generations(catalogue: Callable, tmp_path: Path) -> None:
    one = catalogue(200, (0.5, 0.5)).save(tmp_path / "one")
    made = catalogue(150, (0.5, 0.5))
    made.save(tmp_path / "other")
    (one / folder.INDEX).write_bytes((tmp_path / "other" / folder.INDEX).read_bytes())
    n, m = 200, len(made.fused)
    with pytest.raises(StateError, match=f"{m} vectors, {n} ids, {n} in build.json"):
        Generation.open(one)
    (one / folder.ITEMS).write_bytes((tmp_path / "other" / folder.ITEMS).read_bytes())
    with pytest.raises(StateError, match=f"{m} vectors, {m} ids, {n} in build.json"):
        Generation.open(one)


def test_other_dimension(catalogue: Callable, tmp_path: Path) -> None:
    made = catalogue(200, (0.5, 0.5))
    path = made.save(tmp_path / "g")
    image = np.ascontiguousarray(made.fused[:, 16:])
    kept = image.any(axis=1)
    image[~kept, 0] = 0.1
    index.write(index.build([image], 16, len(image)), path / folder.INDEX)
    with pytest.raises(StateError, match=r"dimension 16, build.json says 32"):
        Generation.open(path)


def test_repeated_ids(catalogue: Callable, tmp_path: Path) -> None:
    made = catalogue(200, (0.5, 0.5))
    path = made.save(tmp_path / "g")
    ids = made.items["product_id"].to_pylist()
    ids[7] = ids[3]
    doubled = made.items.set_column(0, made.items.schema.field(0), pa.array(ids))
    pq.write_table(doubled, path / folder.ITEMS)
    with pytest.raises(StateError, match=f"{len(ids)} ids, only {len(ids) - 1} of them distinct"):
        Generation.open(path)


def test_what_does_not_fit_is_not_saved(catalogue: Callable, tmp_path: Path) -> None:
    made = catalogue(200, (0.5, 0.5))
    flat = index.build([made.fused], 32, len(made.fused))
    with pytest.raises(StateError, match="different generations"):
        folder.save(tmp_path, flat, made.items.slice(1), made.build())
    with pytest.raises(InputError, match="has_text"):
        folder.save(tmp_path, flat, made.items.drop_columns("has_text"), made.build())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"weights": [0.9, 0.9]},
        {"weights": [1.5, -0.5]},
        {"weights": 1},
        {"dim": 7},
        {"dim": "32"},
        {"new": 1},
    ],
)
def test_implausible_build_record(change: dict[str, object], catalogue: Callable, tmp_path: Path) -> None:
    path = catalogue(100, (0.5, 0.5)).save(tmp_path / "g") / folder.BUILD
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StateError, match=r"build.json: damaged"):
        Generation.open(path.parent)
