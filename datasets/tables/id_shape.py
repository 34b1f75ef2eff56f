"""The typical form of a table's ids, to tell a row inside an unclosed quote from a line of a long text."""

_SAMPLE = 1_000  # ids learned from


class IdShape:
    """The kinds of characters in the learned ids, and their shortest and longest length."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()
        self._learned, self._least, self._most = 0, 0, 0

    def learn(self, product_id: str) -> None:
        """Take an id into account; only the first `_SAMPLE` ids are used."""
        if self._learned == _SAMPLE or not product_id:
            return
        length = len(product_id)
        self._least = min(self._least, length) if self._learned else length
        self._most = max(self._most, length)
        self._kinds.update(map(_kind, product_id))
        self._learned += 1

    def like(self, text: str) -> bool:
        """Whether `text` has the form of these ids."""
        return self._least <= len(text) <= self._most and self._kinds.issuperset(map(_kind, text))


def _kind(character: str) -> str:
    return "9" if character.isdigit() else "a" if character.isalpha() else character
