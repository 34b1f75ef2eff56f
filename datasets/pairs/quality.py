"""Quality rules: bounds on the measures of a pair. A pair is rejected for the first rule that it breaks."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pyarrow as pa

from mmprod.datasets.images.images import MAX_PIXELS, BadImage, decode
from mmprod.datasets.pairs import picture_judges as look
from mmprod.datasets.pairs import title_judges as read
from mmprod.datasets.pairs.options import Quality
from mmprod.datasets.pairs.pairs import REJECTED, Sifted, numbers, sift
from mmprod.datasets.store.store import Store

UNDECODABLE = "undecodable"
TITLE_RULES = {
    "title_short": "min_letters",
    "title_long": "max_words",
    "title_repeats": "max_repeated",
    "title_stuffed": "max_foreign",
    "placeholder": "max_shared",
    "disagreement": "min_agreement",
}
PICTURE_RULES = {
    "too_small": "min_side",
    "blank": "min_deviation",
    "nearly_blank": "max_plain",
    "frame": "max_frame",
    "collage": "max_seam",
    "writing": "max_writing",
}
"""Reason → name of its bound, in the order of application; pictures are decoded after the title rules."""

_CHUNK = 64  # pictures a task
_FEW = 30 * _CHUNK  # for fewer pictures, starting processes takes longer than it saves


def judge(
    table: pa.Table,
    store: Store,
    quality: Quality,
    agreement: Mapping[str, float],
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
    on_done: Callable[[int], None] = lambda pairs: None,
) -> Sifted:
    """Apply the rules to `CANDIDATE` rows; also reject those whose picture can't be decoded.

    `agreement`: how well picture and title fit, by product id; products without an entry are not judged by
    it. Each distinct picture is decoded once, in `workers` processes; `on_done` is called with the number of
    pairs judged since the last call.
    """
    given = len(table)
    columns = {reason: pa.array(v) for reason, v in title_numbers(table, agreement).items()}
    table, rejected = _apply(_with(table, columns), TITLE_RULES, quality)
    on_done(given - len(table))
    own = numbers(table["image_hash"])  # row → number of its picture
    hashes = table["image_hash"].unique().to_pylist()
    weights = np.bincount(own, minlength=len(hashes))
    measured = np.empty((len(hashes), len(PICTURE_RULES)))
    for at, part in _measure(store, hashes, max_pixels, workers):
        measured[at : at + len(part)] = part
        on_done(int(weights[at : at + len(part)].sum()))
    values = measured[own]
    columns = {reason: pa.array(values[:, i]) for i, reason in enumerate(PICTURE_RULES)}
    table, undecodable = sift(_with(table, columns), np.isnan(values).all(axis=1), UNDECODABLE)
    table, broken = _apply(table, PICTURE_RULES, quality)
    return table, pa.concat_tables([rejected, undecodable, broken])


def title_numbers(table: pa.Table, agreement: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The measures that need no picture: reason of `TITLE_RULES` → float [n], NaN for unknown."""
    titles, paths = table["title"].to_pylist(), table["category"].to_pylist()
    names = read.category_names(set(paths))
    judged = {
        "title_short": [read.letters(title) for title in titles],
        "title_long": [read.word_count(title) for title in titles],
        "title_repeats": [read.repeated_share(title) for title in titles],
        "title_stuffed": [read.foreign_categories(t, p, names) for t, p in zip(titles, paths, strict=True)],
        "placeholder": sharing(table),
        "disagreement": [agreement.get(name, np.nan) for name in table["product_id"].to_pylist()],
    }
    return {reason: np.asarray(values, float) for reason, values in judged.items()}


def sharing(table: pa.Table) -> np.ndarray:
    """Number of items that share each row's picture, int64 [n]; a product without spu_id is its own item."""
    pictures, items = numbers(table["image_hash"]), numbers(table["spu_id"])
    items = np.where(items < 0, len(table) + np.arange(len(table)), items)
    shown = np.unique(np.stack([pictures, items], axis=1), axis=0)
    found: np.ndarray = np.bincount(shown[:, 0], minlength=1)[pictures]
    return found


def picture_numbers(data: bytes, max_pixels: int) -> list[float]:
    """The measures of an encoded picture, in the order of `PICTURE_RULES`; NaN if it can't be decoded."""
    try:
        picture = decode(data, max_pixels)
    except BadImage:
        return [np.nan] * len(PICTURE_RULES)
    levels = look.levels(picture)
    checks = (look.deviation, look.plain_share, look.frame_share, look.seam, look.writing)
    return [look.short_side(picture), *(check(levels) for check in checks)]


def _apply(table: pa.Table, rules: Mapping[str, str], quality: Quality) -> Sifted:
    """Apply rules whose measures are columns of `table`, in order; removes these columns."""
    rejected = [REJECTED.empty_table()]
    for reason, bound in rules.items():
        limit, values = getattr(quality, bound), table[reason].to_numpy()
        if limit is not None:
            worse = operator.lt if bound.startswith("min") else operator.gt
            table, out = sift(table, worse(values, limit), reason, values)
            rejected.append(out)
    return table.drop_columns(list(rules)), pa.concat_tables(rejected)


def _with(table: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table


def _measure(
    store: Store, hashes: Sequence[bytes], max_pixels: int, workers: int
) -> Iterator[tuple[int, np.ndarray]]:
    """The measures of the pictures, in parts: (index of the first picture, numbers [k, 6])."""
    starts = range(0, len(hashes), _CHUNK)
    tasks = [hashes[at : at + _CHUNK] for at in starts]
    if workers == 1 or len(hashes) < _FEW:
        yield from zip(starts, (_numbers(store, part, max_pixels) for part in tasks), strict=True)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, (store,)) as pool:
        done = pool.map(_numbers_there, tasks, [max_pixels] * len(tasks))
        yield from zip(starts, done, strict=True)


def _numbers(store: Store, hashes: Sequence[bytes], max_pixels: int) -> np.ndarray:
    return np.array([picture_numbers(store.picture(key) or b"", max_pixels) for key in hashes])


def _start(store: Store) -> None:
    global _here
    _here = store


_here: Store  # the store of a worker process


def _numbers_there(hashes: Sequence[bytes], max_pixels: int) -> np.ndarray:
    return _numbers(_here, hashes, max_pixels)
