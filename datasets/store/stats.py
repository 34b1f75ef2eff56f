"""Counts and sizes of a product store."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmprod.datasets.identity import day_date
from mmprod.datasets.store.copies import pages
from mmprod.datasets.store.shard import Shard
from mmprod.datasets.store.state import NEVER
from mmprod.datasets.store.view import View


@dataclass(frozen=True)
class Stats:
    """Counts and sizes of a store. `bytes`: in use; `map_fill`: the used share of the fullest shard's map."""

    shards: int
    live: int
    removed: int
    pictures: int
    bytes: int
    free_pages: int
    readers: int
    map_fill: float
    latest_full_day: str | None
    days: int


def stats(shards: Sequence[Shard], days: int) -> Stats:
    """Those of a store with these shards, which knows so many days."""
    views = [shard.read(_measures) for shard in shards]
    infos = [shard.environment.info() for shard in shards]
    page = [shard.environment.stat()["psize"] for shard in shards]
    used = [(info["last_pgno"] + 1) * size for info, size in zip(infos, page, strict=True)]
    full_day = max(view["full_day"] for view in views)
    return Stats(
        shards=len(shards),
        live=sum(view["live"] for view in views),
        removed=sum(view["sequence"] - view["live"] for view in views),
        pictures=sum(view["pictures"] for view in views),
        bytes=sum(used),
        free_pages=sum(u // p - view["pages"] for u, p, view in zip(used, page, views, strict=True)),
        readers=sum(_readers(shard) for shard in shards),
        map_fill=max(u / info["map_size"] for u, info in zip(used, infos, strict=True)),
        latest_full_day=None if full_day == NEVER else day_date(full_day).isoformat(),
        days=days,
    )


def _measures(view: View) -> dict[str, int]:
    """Entries of the databases, pages in use, live products, latest full day."""
    entries = {name: view.stat(name)["entries"] for name in view.databases()}
    return {**entries, "pages": pages(view), "live": view.live, "full_day": view.full_day}


def _readers(shard: Shard) -> int:
    """Number of read transactions now open, in any process."""
    return sum(line.split()[-1] != "-" for line in shard.environment.readers().splitlines()[1:])
