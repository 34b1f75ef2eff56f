"""Converting titles to the text tower's input without torch: open_clip's cleaning, then `tokenizers`."""

import html
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmprod.datasets.lazy import lazy
from mmprod.storage.errors import StateError

ftfy, tokenizers = lazy("ftfy"), lazy("tokenizers")  # optional
FILE = "tokenizer.json"
Clean = Literal["none", "whitespace", "lower", "canonicalize"]
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Tokens:
    """Converts titles in normal form to token numbers, truncated to the context window, padded with `pad`."""

    tokenizer: Any  # tokenizers.Tokenizer
    clean: Clean
    pad: int

    @classmethod
    def read(cls, folder: Path, clean: Clean, pad: int) -> "Tokens":
        """Open a folder's tokenizer.json. Raises: StateError when it can't be read."""
        from_text = tokenizers.Tokenizer.from_str
        try:
            return cls(from_text((folder / FILE).read_text(encoding="utf-8")), clean, pad)
        except Exception as error:  # tokenizers raises no narrower one
            raise StateError(f"{folder / FILE} can't be read: {error}; export the engine again") from error

    def rows(self, titles: Sequence[str]) -> list[list[int]]:
        """The token numbers of each title, including start and end, without padding."""
        found = self.tokenizer.encode_batch([cleaned(title, self.clean) for title in titles])
        return [encoding.ids for encoding in found]

    def padded(self, rows: Sequence[list[int]], shortest: int) -> np.ndarray:
        """Rows of token numbers as int64 [n, L]; L is the longest row's length, at least `shortest`."""
        length = max([shortest, *map(len, rows)])
        filled = [row + [self.pad] * (length - len(row)) for row in rows]
        return np.array(filled, np.int64).reshape(len(rows), length)


def cleaned(title: str, how: Clean) -> str:
    """Clean a title as open_clip's tokenizers of that kind do."""
    if how == "none":
        return title
    text = title
    if not (title.isascii() and title.isprintable()) or "&" in title:  # else ftfy would change nothing
        text = html.unescape(html.unescape(ftfy.fix_text(title)))
    if how == "canonicalize":
        text = text.replace("_", " ").translate(_PUNCTUATION)
    text = " ".join(text.split())
    return text if how == "whitespace" else text.lower()
