"""Tokenizers: transformers' with open_clip's interface, and their description for the fingerprint."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class BertTokens:
    """A transformers tokenizer with open_clip's interface: titles in, one padded tensor out."""

    def __init__(self, tokenizer: Any, context_length: int) -> None:
        self.tokenizer = tokenizer
        self.context_length = context_length

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """int64 [n, context_length]: [CLS] title [SEP], truncated to fit, padded with the pad token."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        found = self.tokenizer(texts, padding="max_length", truncation=True, max_length=self.context_length)
        return torch.tensor(found.input_ids, dtype=torch.int64).view(len(texts), self.context_length)

    def save_pretrained(self, folder: Path) -> None:
        """Write the vocabulary and settings, as open_clip's tokenizers do."""
        self.tokenizer.save_pretrained(folder)


def describe(tokenizer: Any) -> list[Any]:
    """Everything that determines a text's tokens: class, length and, if they vary, a hash of the settings."""
    plain = [type(tokenizer).__name__, getattr(tokenizer, "context_length", None)]
    inner = getattr(tokenizer, "tokenizer", None) or getattr(tokenizer, "pieces", None)
    backend = getattr(inner, "backend_tokenizer", None)
    if backend is None:
        return plain
    content = json.loads(backend.to_str())
    settings = {key: value for key, value in content.items() if key not in ("truncation", "padding")}
    cleaning = getattr(getattr(tokenizer, "clean_fn", None), "__name__", None)
    text = json.dumps([settings, cleaning], sort_keys=True)
    return [*plain, hashlib.sha256(text.encode()).hexdigest()]
