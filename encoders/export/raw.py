"""The files of an engine folder for raw inputs: how to turn titles and pictures into tokens and pixels.

    raw.json         how pictures are resized and titles cleaned, and the normal forms of both
    tokenizer.json   the tokenizer, as the `tokenizers` library reads it

They are useful only if they give exactly the tokens and pixels of the encoder: see `differences`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip

from mmprod.datasets.forms import FORMS
from mmprod.datasets.lazy import lazy
from mmprod.encoders.clip import Encoder
from mmprod.encoders.export.inputs import Inputs, pad_of, pixels, tokens
from mmprod.encoders.export.modules import picture_size
from mmprod.encoders.export.pixels import Geometry
from mmprod.encoders.export.spec import RAW
from mmprod.encoders.export.titles import FILE, Clean, Tokens
from mmprod.storage.errors import InputError

tokenizers = lazy("tokenizers")  # optional
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # CLIP's


def write(encoder: Encoder, folder: Path) -> None:
    """Write both files into an engine folder.

    Raises: InputError for a tokenizer that can't be written as a separate file.
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
    """The resize of the encoder's transform."""
    found: dict[str, Any] = open_clip.get_model_preprocess_cfg(encoder.model)
    height, width = picture_size(encoder.model)
    mode: Any = found.get("resize_mode") or "shortest"
    interpolation: Any = found.get("interpolation") or "bicubic"
    return Geometry(height, width, mode, interpolation, found.get("fill_color") or 0)


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


def differences(encoder: Encoder, folder: Path, tried: Inputs) -> Sequence[str]:
    """Names of pictures, and titles, for which the folder's files and the encoder give different inputs."""
    geometry, tokenizer = (
        geometry_of(encoder),
        Tokens.read(folder, clean_of(encoder.tokenizer), pad_of(encoder)),
    )
    wanted = zip(tried.names, tried.pictures, pixels(encoder, tried.pictures), strict=True)
    found = [name for name, picture, want in wanted if (geometry.pixels(picture) != want).any()]
    rows = tokenizer.padded(tokenizer.rows(tried.titles), int(encoder.tokenizer.context_length))
    other = (rows != tokens(encoder, tried.titles)).any(axis=1)
    return found + [title for title, differs in zip(tried.titles, other, strict=True) if differs]
