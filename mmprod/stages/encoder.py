"""Loading the encoder: the torch model, or for queries the exported engine, which needs no torch.

Importing this module does not import torch.
"""

import logging
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mmprod.datasets.embeddings import import_record
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.export.encoder import ExportedEncoder
from mmprod.encoders.export.spec import SPEC, Tower
from mmprod.encoders.imported import Imported
from mmprod.encoders.shapes import ROWS, ROWS_GPU, fixed
from mmprod.lake import IMPORTED, LAKE_ENCODER, OTHERS, SENTENCES, Lake
from mmprod.sections import Config
from mmprod.storage import artifacts
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import sha256_file

if TYPE_CHECKING:
    from mmprod.encoders import clip

log = logging.getLogger(__name__)
ENGINE = "onnx-fp32"
"""The engine that may replace torch for queries: its gate ensures torch's vectors; that of fp16 does not."""


def load_encoder(
    lake: Lake, config: Config, fingerprint: str | None = None, candidate: str | None = None
) -> "clip.Encoder":
    """Load the configured encoder; a ``lake:`` one is verified against its manifest first.

    `fingerprint`: that of the index to be queried. If the ``lake:`` encoder was retrained after the index was
    built, this loads the earlier generation that fits the index.
    `candidate`: load this encoder of the lake instead of the configured one.
    """
    section = config.encoder
    if candidate is None and section.model.startswith(OTHERS):
        raise InputError(
            f"encoder.model is {section.model!r}: this needs a model that mmprod runs in torch itself "
            "(lake:, local-dir:, hf-hub:, transformers: or an open_clip name)"
        )
    name = lake.encoder_name(LAKE_ENCODER + candidate if candidate else section.model, fingerprint)
    if name.startswith("local-dir:"):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a local folder needs no requests to the hub
    from mmprod.encoders.clip import load  # after that; and it brings torch, seconds

    return load(name, section.pretrained, section.device)


def open_encoder(
    lake: Lake, config: Config, fingerprint: str | None = None, candidate: str | None = None
) -> Encoder:
    """As `load_encoder`, for whoever only encodes: also imported vectors and sentence-transformers.

    Raises: InputError if nothing was imported under the configured name.
    """
    model = config.encoder.model
    if candidate is not None or not model.startswith(OTHERS):
        return load_encoder(lake, config, fingerprint, candidate)
    if model.startswith(IMPORTED):
        return _imported(lake, model)
    from mmprod.encoders.sentence_transformers import load  # brings torch, seconds

    return load(model.removeprefix(SENTENCES), config.encoder.device)


def _imported(lake: Lake, model: str) -> Imported:
    name = model.removeprefix(IMPORTED)
    if (record := import_record.read(lake.imports, name)) is None:
        raise InputError(
            f"encoder.model is {model!r}, but nothing was imported under this name yet: "
            f"mmprod embeddings import FILE --encoder {name}"
        )
    return Imported(model, record.fingerprint, record.width, lake.embeddings(model, record.fingerprint))


def load_query_encoder(
    lake: Lake, config: Config, fingerprint: str, towers: Sequence[Tower] = ("text",)
) -> Encoder:
    """The encoder for queries: the exported engine if there is one, else the result of `open_encoder`.

    `fingerprint`: that of the index to be queried. An engine is loaded with `towers` only. If it can't be
    used (damaged, or its library is missing), a warning is logged and torch is used.
    """
    engine = None
    try:
        engine = open_engine(lake.engines(config.encoder.model, fingerprint, ENGINE), fingerprint, towers)
    except StateError as error:
        log.warning("torch answers instead of the engine, and takes longer to load: %s", error)
    return engine or open_encoder(lake, config, fingerprint)


def open_engine(
    root: Path, fingerprint: str, towers: Sequence[Tower], device: str = "cpu"
) -> ExportedEncoder | None:
    """The current engine at `root`, verified; None unless it is of that encoder and has `towers`.

    Raises: StateError for a damaged engine, and without its library.
    """
    if artifacts.current(root) is None:
        return None
    with artifacts.opened(root, checked=False) as opened:
        made, spec = opened.manifest, opened.path / SPEC
        if made.inputs["encoder"] != fingerprint or not set(towers) <= set(made.config["towers"]):
            return None
        if (found := sha256_file(spec)) != made.files[SPEC]:
            raise StateError(f"{spec} has sha256 {found}, manifest says {made.files[SPEC]}; export it again")
        batches = partial(fixed, size=ROWS if device == "cpu" else ROWS_GPU)
        # this verifies the files that SPEC names
        return ExportedEncoder.open(opened.path, device, towers=towers, batches=batches)
