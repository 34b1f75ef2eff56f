"""BLIP's tokenizer: titles to tokens and back."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from torch import Tensor
from transformers import BertTokenizer

CONTEXT = 64  # BLIP was trained on captions of at most 40 tokens; titles are longer
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CHINESE = "[　-〿㐀-鿿＀-￯]"
_GAP = re.compile(f"(?<={_CHINESE}) (?={_CHINESE})")


class BlipTokenizer:
    """BERT's WordPiece with open_clip's interface: titles to int64 [n, context_length].

    ``[CLS] pieces [SEP]``, padded; longer titles are truncated before the ``[SEP]``.
    """

    def __init__(self, pieces: Any, context_length: int = CONTEXT) -> None:
        self.pieces = pieces  # a transformers tokenizer
        self.context_length = context_length

    def __call__(self, titles: Sequence[str]) -> Tensor:
        if not titles:
            return torch.empty((0, self.context_length), dtype=torch.int64)
        found = self.pieces(
            list(titles), padding="max_length", truncation=True, max_length=self.context_length
        )
        return torch.tensor(found["input_ids"], dtype=torch.int64)

    def prompt(self, text: str) -> Tensor:
        """The tokens a caption begins with: int64 [1, m], from ``[CLS]``, without ``[SEP]``."""
        return torch.tensor([self.pieces(text)["input_ids"][:-1]], dtype=torch.int64)

    def unspoken(self) -> list[int]:
        """Tokens that must not occur in a caption: all special ones except ``[SEP]``, which ends it."""
        return sorted(set(self.pieces.all_special_ids) - {self.pieces.sep_token_id})

    def text(self, tokens: Tensor) -> str:
        """The text of one row of tokens, without special tokens or spaces between Chinese characters."""
        return _GAP.sub("", self.pieces.decode(tokens.tolist(), skip_special_tokens=True)).strip()

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files."""
        self.pieces.model_max_length = self.context_length
        self.pieces.save_pretrained(folder)
        vocabulary = sorted(self.pieces.get_vocab().items(), key=lambda item: item[1])
        (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece, _ in vocabulary), encoding="utf-8")


def load_tokenizer(folder: Path, longest: int) -> BlipTokenizer:
    """Load the tokenizer of a folder, for at most CONTEXT and `longest` tokens (the model's positions)."""
    pieces = BertTokenizer.from_pretrained(folder)
    return BlipTokenizer(pieces, int(min(pieces.model_max_length, longest, CONTEXT)))


def learn_tokenizer(titles: Iterable[str], size: int, context_length: int) -> BlipTokenizer:
    """A tokenizer with the titles' `size` most frequent words, and their letters for all other words."""
    normalizer, splitter = BertNormalizer(lowercase=True), BertPreTokenizer()
    words: Counter[str] = Counter()
    for title in titles:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(title)))
    letters = sorted(set("".join(words)))
    frequent = sorted(words, key=lambda word: (-words[word], word))[:size]
    pieces = dict.fromkeys([*_SPECIAL, *frequent, *letters, *(f"##{letter}" for letter in letters)])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return BlipTokenizer(BertTokenizer(vocab=vocabulary), context_length)
