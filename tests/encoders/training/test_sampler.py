"""Which pairs make up a step, and how they are read."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.encoders.training.loader import Part
from mmprod.encoders.training.sampler import Sampler
from mmprod.storage.errors import InputError

SIZES = st.integers(2, 9)


@given(pairs=st.integers(9, 60), size=SIZES, seed=st.integers(0, 9), epochs=st.integers(1, 3))
def test_an_epoch_sees_each_pair_at_most_once(pairs: int, size: int, seed: int, epochs: int) -> None:
    sampler, per_epoch = Sampler(pairs, size, seed), pairs // size
    steps = list(sampler.steps(1, epochs * per_epoch))
    assert steps == list(Sampler(pairs, size, seed).steps(1, epochs * per_epoch))
    for epoch in range(epochs):
        rows = [at for step in steps[epoch * per_epoch : (epoch + 1) * per_epoch] for at in step]
        assert {number for number, _ in rows} == {epoch}
        seen = [row for _, row in rows]
        assert len(set(seen)) == len(seen) == per_epoch * size
        assert set(seen) <= set(range(pairs))


@given(pairs=st.integers(9, 60), size=SIZES, seed=st.integers(0, 9), first=st.integers(1, 20))
def test_any_start_is_the_tail(pairs: int, size: int, seed: int, first: int) -> None:
    sampler = Sampler(pairs, size, seed)
    assert list(sampler.steps(first, 22)) == list(sampler.steps(1, 22))[first - 1 :]


def test_epochs_and_seeds_differ() -> None:
    one, other = list(Sampler(64, 64, 0).steps(1, 2)), list(Sampler(64, 64, 1).steps(1, 1))
    assert [row for _, row in one[0]] != [row for _, row in one[1]]
    assert one[0] != other[0]


@given(items=st.lists(st.integers(-1, 6), min_size=4, max_size=40), per_item=st.integers(2, 4))
def test_listings_of_an_item_stand_side_by_side(items: list[int], per_item: int) -> None:
    numbers = np.array(items)
    [step] = Sampler(len(items), len(items), 5, numbers, per_item).steps(1, 1)
    rows = [row for _, row in step]
    assert sorted(rows) == list(range(len(items)))
    runs: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        if items[row] >= 0:
            runs.setdefault(items[row], []).append(place)
    for places in runs.values():
        for start in range(0, len(places), per_item):
            group = places[start : start + per_item]
            assert group == list(range(group[0], group[0] + len(group)))


def test_fewer_pairs_than_a_batch_are_refused() -> None:
    with pytest.raises(InputError, match="7 training pairs are fewer than a batch of 8"):
        Sampler(7, 8, 0)


@given(world=st.integers(1, 4), size=st.integers(1, 4))
def test_processes_partition_each_step(world: int, size: int) -> None:
    sampler = Sampler(50, world * size, 0)
    parts = [list(Part(sampler, 2, 6, rank, world)) for rank in range(world)]
    for number, step in enumerate(sampler.steps(2, 6)):
        assert [row for part in parts for row in part[number]] == step


SPAWNED = """
import sys, hashlib
sys.path.insert(0, {folder!r})
from driver import PAIRS, TITLES, Pictures, identities, tokenize
from mmprod.encoders.training.loader import Loader
from mmprod.encoders.training.sampler import Sampler

if __name__ == "__main__":
    for workers in (0, 2):
        loader = Loader(Pictures(), TITLES, identities(True), tokenize, workers)
        digest = hashlib.sha256()
        for batch in loader.batches(Sampler(PAIRS, 8, 0), 3, 12):
            for part in (batch.pictures, batch.tokens, batch.identity):
                digest.update(part.numpy().tobytes())
        print(digest.hexdigest())
"""


@pytest.mark.slow
def test_spawned_workers_read_the_same(tmp_path: Path) -> None:
    script = tmp_path / "read.py"
    script.write_text(SPAWNED.format(folder=str(Path(__file__).parent)))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=240, check=True)
    alone, spawned = done.stdout.split()
    assert alone == spawned


def test_batches_hold_what_belongs_together(driver: ModuleType) -> None:
    loader = driver.Loader(driver.Pictures(), driver.TITLES, driver.identities(True), driver.tokenize)
    sampler = Sampler(driver.PAIRS, 8, 0)
    for step, batch in zip(sampler.steps(4, 7), loader.batches(sampler, 4, 7), strict=True):
        for at, picture, tokens, identity in zip(
            step, batch.pictures, batch.tokens, batch.identity, strict=True
        ):
            assert np.array_equal(picture.numpy(), driver.Pictures()[at])
            assert tokens.tolist() == driver.tokenize([driver.TITLES[at[1]]])[0].tolist()
            assert identity.tolist() == driver.identities(True)[at[1]].tolist()
