"""Category paths such as ``"Home > Lighting"``: parents, membership, suggestions for unknown names."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

_BOUNDARY = " > "


def upwards(path: str) -> list[str]:
    """A category and its parents, the widest first: "A > B" gives "A" and "A > B"; "" gives none."""
    levels = path.split(_BOUNDARY) if path else []
    return [_BOUNDARY.join(levels[: i + 1]) for i in range(len(levels))]


def within(path: str, categories: Collection[str]) -> bool:
    """Whether a path is one of `categories` or lies below one. With a set, one look-up a level."""
    return any(category in categories for category in upwards(path))


def near(category: str, paths: Iterable[str]) -> list[str]:
    """Up to three categories among `paths` and their parents with names similar to `category`.

    Without a similar name, the first three in alphabetical order.
    """
    names = {above.lower(): above for path in paths for above in upwards(path)}
    close = get_close_matches(category.lower(), names, n=3, cutoff=0.5)
    return [names[name] for name in close] or sorted(names.values())[:3]
