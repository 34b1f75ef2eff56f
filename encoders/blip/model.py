"""Loading and saving BLIP folders: mmprod's, and transformers' with retrieval heads or a caption decoder."""

import json
import logging
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BlipConfig

from mmprod.encoders.blip.network import Blip
from mmprod.encoders.blip.tokenizer import BlipTokenizer, load_tokenizer
from mmprod.encoders.folders import CONFIG, PICTURES, WEIGHTS, fetch, kind_of, read_json, write_preprocessing
from mmprod.storage.errors import InputError, StateError

__all__ = ["Blip", "load_blip", "save_blip"]
log = logging.getLogger(__name__)
_RETRIEVAL = ("text_encoder.", "vision_proj.", "text_proj.", "itm_head.")
_DECODER = "text_decoder."


def load_blip(name: str | Path) -> tuple[Blip, BlipTokenizer]:
    """Load a BLIP in float32, ready to encode, from a folder or by a Hugging Face name (``org/name``).

    For a checkpoint without a caption decoder (``blip-itm-…``) the decoder is initialised from the text
    encoder, and a warning is logged: its captions are noise until it is fine-tuned. A model without retrieval
    heads (``blip-image-captioning-…``) can caption and refuses everything else (`Blip.retrieves`).

    Raises: InputError when it is not a BLIP, or lacks ``model.safetensors``, or its weights do not fit;
    StateError for damaged files.
    """
    folder = Path(name) if Path(name).is_dir() else fetch(str(name))
    if (kind := kind_of(folder)) != "blip":
        raise InputError(f"{folder} holds no BLIP but a model of kind {kind!r}")
    config = BlipConfig.from_dict(read_json(folder / CONFIG))
    model = Blip(config)
    _fill(model, folder / WEIGHTS)
    if (folder / PICTURES).is_file():
        settings = read_json(folder / PICTURES)
        model.visual.preprocess_cfg |= {
            "mean": tuple(settings["image_mean"]),
            "std": tuple(settings["image_std"]),
        }
    return model.eval(), load_tokenizer(folder, config.text_config.max_position_embeddings)


def save_blip(model: Blip, tokenizer: BlipTokenizer, folder: Path) -> None:
    """Write a folder that `load_blip` can read: configuration, weights (shared ones once), tokenizer.

    transformers' ``BlipForImageTextRetrieval`` and ``BlipProcessor`` read the folder too.
    """
    config = {**model.config.to_dict(), "architectures": ["BlipForImageTextRetrieval"]}
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True))
    save_file(_once(model), folder / WEIGHTS, metadata={"format": "pt"})
    write_preprocessing(model.visual.preprocess_cfg, folder)
    tokenizer.save(folder)


def _once(model: Blip) -> dict[str, Tensor]:
    """The model's tensors, one of those that share memory; retrieval heads only if they are trained."""
    kept: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict().items():
        if model.retrieves or not name.startswith(_RETRIEVAL):
            kept.setdefault(tensor.data_ptr(), (name, tensor))
    return {name: tensor.detach().cpu().contiguous() for name, tensor in kept.values()}


def _fill(model: Blip, path: Path) -> None:
    try:
        tensors = {name: t for name, t in load_file(path).items() if not name.endswith(".position_ids")}
    except SafetensorError as error:
        raise StateError(f"{path} is damaged: {error}") from error
    try:
        unknown = model.load_state_dict(tensors, strict=False).unexpected_keys
    except RuntimeError as error:
        raise InputError(f"{path} does not fit its {CONFIG}: {error}") from error
    known = model.state_dict()
    filled = {known[name].data_ptr() for name in tensors if name in known}
    missing = {name for name in known if known[name].data_ptr() not in filled} - {"logit_scale"}
    if missing and all(name.startswith(_DECODER) for name in missing):
        _begin_decoder(model)
        log.warning(
            "%s has no caption decoder: it gets a copy of the text encoder; fine-tune it to caption", path
        )
    elif missing and all(name.startswith(_RETRIEVAL) for name in missing):
        model.retrieves = False
        log.warning("%s has no retrieval heads: it captions, and refuses to embed or match", path)
    elif missing:
        raise InputError(
            f"{path} is no whole BLIP: {len(missing)} tensors are missing, such as {min(missing)}; get the "
            "complete checkpoint"
        )
    if unknown:
        raise InputError(f"{path} holds {len(unknown)} tensors that no BLIP has, such as {unknown[0]}")


def _begin_decoder(model: Blip) -> None:
    """Copy the text encoder's self-attention to the decoder; the rest is shared, except a random head."""
    ours, theirs = model.text_encoder.encoder.layer, model.text_decoder.bert.encoder.layer
    for source, target in zip(ours, theirs, strict=True):
        target.attention.load_state_dict(source.attention.state_dict())
