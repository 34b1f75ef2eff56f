"""The files of an engine folder for raw inputs: how to turn titles and pictures into tokens and pixels.

    raw.json         how pictures are resized and titles cleaned, and the normal forms of both
    tokenizer.json   the tokenizer, as the `tokenizers` library reads it

They are useful only if they give exactly the tokens and pixels of the encoder: see `differences`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mmprod.datasets.forms import FORMS
from mmprod.encoders.clip import Encoder
from mmprod.encoders.export.inputs import Inputs, pad_of, pixels, tokens
from mmprod.encoders.export.spec import RAW
from mmprod.encoders.export.titles import FILE, Tokens
from mmprod.encoders.tokens import clean_of, tokenizer_of


def write(encoder: Encoder, folder: Path) -> None:
    """Write both files into an engine folder.

    Raises: InputError for a tokenizer that can't be written as a separate file.
    """
    content = {
        "pictures": asdict(encoder.geometry),
        "clean": clean_of(encoder.tokenizer),
        "forms": FORMS,
    }
    tokenizer = tokenizer_of(encoder.tokenizer)
    (folder / RAW).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / FILE).write_text(tokenizer.to_str(), encoding="utf-8")


def differences(encoder: Encoder, folder: Path, tried: Inputs) -> Sequence[str]:
    """Names of pictures, and titles, for which the folder's files and the encoder give different inputs."""
    tokenizer = Tokens.read(folder, clean_of(encoder.tokenizer), pad_of(encoder))
    wanted = zip(tried.names, tried.pictures, pixels(encoder, tried.pictures), strict=True)
    found = [name for name, picture, want in wanted if (encoder.geometry.pixels(picture) != want).any()]
    rows = tokenizer.padded(tokenizer.rows(tried.titles), int(encoder.tokenizer.context_length))
    other = (rows != tokens(encoder, tried.titles)).any(axis=1)
    return found + [title for title, differs in zip(tried.titles, other, strict=True) if differs]
