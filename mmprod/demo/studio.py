"""Draws many pictures on all cores. The result does not depend on the number of cores."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from mmprod.datasets.threads import threads
from mmprod.demo.draw import picture
from mmprod.demo.items import Item

Order = tuple[Item, int]  # an item and the number of its shot
_CHUNK = 100  # pictures; a few chunks are drawn in this process, as starting others would cost more


def draw_all(orders: Sequence[Order], workers: int | None = None) -> list[bytes]:
    """The JPEG of every order, in order, drawn by `workers` processes (None: one for each thread it may use).

    Processes are spawned, never forked: a fork after a Faiss search hangs.
    """
    workers = workers or threads()
    chunks = [orders[at : at + _CHUNK] for at in range(0, len(orders), _CHUNK)]
    if workers == 1 or len(chunks) < 6:
        return _draw(orders)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return [jpeg for chunk in pool.map(_draw, chunks) for jpeg in chunk]


def _draw(orders: Sequence[Order]) -> list[bytes]:
    return [picture(item, shot) for item, shot in orders]
