"""What an engine folder needs so that raw titles and pictures can go in, taken from the encoder.

    raw.json         how pictures are resized and titles cleaned, and in which normal forms both come
    tokenizer.json   the tokenizer, as the `tokenizers` library reads it

Only what says the very same as the encoder's own tokenizer and transform is any good: see `differences`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip

from mmprod.datasets.forms import FORMS
from mmprod.encoders.clip import Encoder
from mmprod.encoders.export.inputs import Inputs, pad_of, pixels, tokens
from mmprod.encoders.export.modules import picture_size
from mmprod.encoders.export.pixels import Geometry
from mmprod.encoders.export.spec import RAW
from mmprod.encoders.export.titles import FILE, Clean, Tokens
from mmprod.storage.errors import InputError

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # CLIP's


def write(encoder: Encoder, folder: Path) -> None:
    """Write both files into an engine folder.

    Raises: InputError for a tokenizer that can't be written as a file of its own.
    """
    content = {
        "pictures": asdict(geometry_of(encoder)),
        "clean": clean_of(encoder.tokenizer),
        "forms": FORMS,
    }
    tokenizer = tokenizer_of(encoder.tokenizer)
    (folder / RAW).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / FILE).write_text(tokenizer.to_str(), encoding="utf-8")


def geometry_of(encoder: Encoder) -> Geometry:
    """How the encoder's transform resizes."""
    found: dict[str, Any] = open_clip.get_model_preprocess_cfg(encoder.model)
    height, width = picture_size(encoder.model)
    mode: Any = found.get("resize_mode") or "shortest"
    interpolation: Any = found.get("interpolation") or "bicubic"
    return Geometry(height, width, mode, interpolation, found.get("fill_color") or 0)


def clean_of(tokenizer: Any) -> Clean:
    """What a tokenizer does to a text before it looks for tokens."""
    if isinstance(tokenizer, open_clip.tokenizer.SigLipTokenizer):
        return "canonicalize"
    named: dict[str, Clean] = {
        "_clean_lower": "lower",
        "_clean_whitespace": "whitespace",
        "_clean_canonicalize": "canonicalize",
    }
    return named.get(getattr(getattr(tokenizer, "clean_fn", None), "__name__", ""), "none")


def tokenizer_of(tokenizer: Any) -> Any:
    """The tokenizer as a `tokenizers.Tokenizer` that cuts to the context window and doesn't pad."""
    from tokenizers import Tokenizer

    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        made = _of_clip(tokenizer)
    else:
        inner: Any = getattr(tokenizer, "tokenizer", None) or getattr(tokenizer, "pieces", None)
        if not hasattr(inner, "backend_tokenizer"):
            raise InputError(f"{type(tokenizer).__name__} has no form that runs without its library")
        made = Tokenizer.from_str(inner.backend_tokenizer.to_str())
    made.no_padding()
    made.enable_truncation(int(tokenizer.context_length))
    return made


def _of_clip(tokenizer: Any) -> Any:
    """CLIP's own tokenizer, which open_clip has in Python."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    made = Tokenizer(models.BPE(vocab=tokenizer.encoder, merges=merges, end_of_word_suffix="</w>"))
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([words, letters])
    start, end = (tokenizer.decoder[i] for i in (tokenizer.sot_token_id, tokenizer.eot_token_id))
    marks = [(start, tokenizer.sot_token_id), (end, tokenizer.eot_token_id)]
    made.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=marks)
    return made


def differences(encoder: Encoder, folder: Path, tried: Inputs) -> Sequence[str]:
    """Names of the pictures and the titles that the folder's two files make something else of."""
    geometry, tokenizer = (
        geometry_of(encoder),
        Tokens.read(folder, clean_of(encoder.tokenizer), pad_of(encoder)),
    )
    wanted = zip(tried.names, tried.pictures, pixels(encoder, tried.pictures), strict=True)
    found = [name for name, picture, want in wanted if (geometry.pixels(picture) != want).any()]
    rows = tokenizer.padded(tokenizer.rows(tried.titles), int(encoder.tokenizer.context_length))
    other = (rows != tokens(encoder, tried.titles)).any(axis=1)
    return found + [title for title, differs in zip(tried.titles, other, strict=True) if differs]
