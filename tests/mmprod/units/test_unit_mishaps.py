"""Whatever happens between plan and table."""

import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mmprod.stages.outcome import Outcome
from mmprod.stages.store import reshard_store
from mmprod.storage.errors import StateError


def killed_worker(shop, chance: random.Random) -> None:
    """A worker that does some units and dies at one."""
    for unit in chance.sample(shop.planned.units, len(shop.files("arrow")) // 2):
        shop.worker().encode(unit, Outcome("encode"))
    if left := [u for u in shop.planned.units if not (shop.units / u.part).exists()]:
        shop.exchange.mark(left[0].begun)
        (shop.units / ".0123.draft").write_bytes(b"half a part")


def lost_part(shop, chance: random.Random) -> None:
    chance.choice(shop.files("parquet")).unlink()


def doubled_part(shop, chance: random.Random) -> None:
    unit = chance.choice(shop.planned.units)
    shop.worker().encode(unit, Outcome("encode"))
    shutil.copy(shop.units / unit.part, shop.units / f"9-{unit.part}")


def torn_part(shop, chance: random.Random) -> None:
    path = chance.choice(shop.files("parquet"))
    path.write_bytes(path.read_bytes()[: chance.randrange(200)])


def resharded(shop, chance: random.Random) -> None:
    shop.more["shards"] = 3
    with shop.lake.writing():
        reshard_store(shop.lake, shop.config, 3)


DAY = st.lists(st.tuples(st.integers(2, 6), st.integers(0, 3)), min_size=4, max_size=7)
MISHAPS = ("none", "killed", "lost", "doubled", "torn", "another day", "resharded")


@settings(max_examples=4, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    days=st.lists(DAY, min_size=2, max_size=2),
    mishaps=st.lists(st.sampled_from(MISHAPS), min_size=2, max_size=2, unique=True),
    part_rows=st.integers(2, 5),
    chance=st.randoms(use_true_random=False),
)
def test_whatever_happens_on_the_way_the_table_is_that_of_a_single_run(
    days, mishaps, part_rows: int, chance: random.Random, opened
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shop = opened(Path(folder), part_rows=part_rows)
        for rows, mishap in zip(days, mishaps, strict=True):
            shop.day([shop.product(number, *of) for number, of in enumerate(rows)])
            shop.next_plan()
            shop.plan()
            _night(shop, mishap, chance)
            shop.embed()
            shop.check()


def _night(shop, mishap: str, chance: random.Random) -> None:
    """Encode and take; something happens in between."""
    if not shop.planned.units:
        return
    if mishap == "killed":
        killed_worker(shop, chance)
    shop.encode()
    between = {"lost": lost_part, "doubled": doubled_part, "torn": torn_part, "resharded": resharded}
    if mishap in between:
        between[mishap](shop, chance)
    if mishap == "another day":
        shop.day([shop.product(number, chance.randrange(2, 6), 1) for number in range(2, 8)])
    if mishap in ("torn", "resharded"):
        with pytest.raises(StateError, match=r"can't be merged|plan again"):
            shop.take()
        return
    told = shop.take()
    assert told.detail.get("missing", 0) == (mishap == "lost")
    if mishap in ("none", "killed", "doubled"):
        assert shop.table.pointer.position == shop.planned.head, "nothing is left for `embed`"
