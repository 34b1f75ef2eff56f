"""Tokenizers: transformers' with open_clip's interface, their description for the fingerprint, and their form
in the `tokenizers` library, which needs no torch.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from mmprod.datasets.lazy import lazy
from mmprod.encoders.export.titles import Clean
from mmprod.storage.errors import InputError

tokenizers = lazy("tokenizers")  # optional
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # CLIP's


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


def clean_of(tokenizer: Any) -> Clean:
    """How a tokenizer cleans a text before tokenising it."""
    if isinstance(tokenizer, open_clip.tokenizer.SigLipTokenizer):
        return "canonicalize"
    named: dict[str, Clean] = {
        "_clean_lower": "lower",
        "_clean_whitespace": "whitespace",
        "_clean_canonicalize": "canonicalize",
    }
    return named.get(getattr(getattr(tokenizer, "clean_fn", None), "__name__", ""), "none")


def tokenizer_of(tokenizer: Any) -> Any:
    """The tokenizer as a `tokenizers.Tokenizer` that truncates to the context window and doesn't pad."""
    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        made = _of_clip(tokenizer)
    else:
        inner: Any = getattr(tokenizer, "tokenizer", None) or getattr(tokenizer, "pieces", None)
        if not hasattr(inner, "backend_tokenizer"):
            raise InputError(f"{type(tokenizer).__name__} has no form that runs without its library")
        made = tokenizers.Tokenizer.from_str(inner.backend_tokenizer.to_str())
    made.no_padding()
    made.enable_truncation(int(tokenizer.context_length))
    return made


def _of_clip(tokenizer: Any) -> Any:
    """Convert CLIP's own tokenizer, which open_clip implements in Python."""
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    bpe = tokenizers.models.BPE(vocab=tokenizer.encoder, merges=merges, end_of_word_suffix="</w>")
    made = tokenizers.Tokenizer(bpe)
    words = tokenizers.pre_tokenizers.Split(tokenizers.Regex(_WORDS), behavior="removed", invert=True)
    letters = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([words, letters])
    start, end = (tokenizer.decoder[i] for i in (tokenizer.sot_token_id, tokenizer.eot_token_id))
    marks = [(start, tokenizer.sot_token_id), (end, tokenizer.eot_token_id)]
    template = tokenizers.processors.TemplateProcessing
    made.post_processor = template(single=f"{start} $A {end}", special_tokens=marks)
    return made
