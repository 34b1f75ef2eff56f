"""Category paths: ``"Home > Lighting"`` and the categories below it; names that may have been meant."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

_BOUNDARY = " > "


def upwards(path: str) -> list[str]:
    """A category and those above it, the widest first: "A > B" gives "A" and "A > B"; nothing for ""."""
    levels = path.split(_BOUNDARY) if path else []
    return [_BOUNDARY.join(levels[: i + 1]) for i in range(len(levels))]


def within(path: str, categories: Collection[str]) -> bool:
    """Whether a path is one of `categories` or lies below one. Fast with a set, however many there are."""
    return any(category in categories for category in upwards(path))


def near(category: str, paths: Iterable[str]) -> list[str]:
    """Up to three categories, of `paths` and above, whose names are like `category`; else the first three."""
    names = {above.lower(): above for path in paths for above in upwards(path)}
    close = get_close_matches(category.lower(), names, n=3, cutoff=0.5)
    return [names[name] for name in close] or sorted(names.values())[:3]
