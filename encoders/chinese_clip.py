"""Chinese-CLIP (Yang et al. 2022), a ViT and a Chinese BERT, with the interface of an open_clip model."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import BertTokenizer, ChineseCLIPConfig, ChineseCLIPModel

from mmprod.encoders import folders
from mmprod.encoders.tokens import BertTokens
from mmprod.storage.errors import InputError

VOCABULARIES = ("tokenizer.json", "vocab.txt")
CONTEXT = 52  # tokens, as in training; the configuration gives only the number of positions


class ChineseClip(ChineseCLIPModel):  # type: ignore[misc]  # transformers is not typed
    """transformers' model with open_clip's methods.

    Tokens are int64 [n, L], padded with the configuration's pad token, which is masked. `visual` holds the
    picture size and the preprocessing, as in open_clip's models.
    """

    logit_bias = None

    def __init__(self, config: ChineseCLIPConfig) -> None:
        super().__init__(config)
        self.visual = SimpleNamespace(image_size=config.vision_config.image_size)

    def encode_image(self, pixels: Tensor, normalize: bool = False) -> Tensor:
        """Pixels float [n, 3, s, s] to features [n, d]."""
        features: Tensor = self.get_image_features(pixels).pooler_output  # projected
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """Tokens int64 [n, L] to features [n, d]."""
        mask = (tokens != self.config.text_config.pad_token_id).long()
        features: Tensor = self.get_text_features(tokens, attention_mask=mask).pooler_output  # projected
        return F.normalize(features, dim=-1) if normalize else features

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of storing them."""
        if enable:
            self.activation_checkpointing_enable({"use_reentrant": False})
        else:
            self.activation_checkpointing_disable()


def load_chinese_clip(folder: Path) -> tuple[ChineseClip, BertTokens]:
    """Load the model and tokenizer from a folder in transformers' format.

    Raises: StateError for damaged files, InputError for missing ones or weights that do not fit.
    """
    content = folders.read_json(folder / folders.CONFIG)
    if not any((folder / name).is_file() for name in VOCABULARIES):  # else transformers makes an empty one
        raise InputError(f"{folder} holds no tokenizer: one of {', '.join(VOCABULARIES)}")
    try:
        config = ChineseCLIPConfig.from_dict(content)
        model = ChineseClip(config)
        tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, StrictDataclassError) as error:
        raise InputError(f"{folder} can't be loaded: {error}") from error
    known, pieces = config.text_config.vocab_size, len(tokenizer)
    if pieces > known:
        raise InputError(f"{folder}: the tokenizer has {pieces} pieces, the model knows {known}")
    side = config.vision_config.image_size
    open_clip.set_model_preprocess_cfg(model, folders.read_preprocessing(folder, side))
    folders.load_weights(model, folder / folders.WEIGHTS)
    return model.eval(), BertTokens(tokenizer, min(CONTEXT, config.text_config.max_position_embeddings))


def save_chinese_clip(model: ChineseClip, tokenizer: Any, folder: Path) -> None:
    """Write a folder that `load_chinese_clip` and transformers can read."""
    model.config.save_pretrained(folder)
    folders.save_weights(model, folder / folders.WEIGHTS)
    folders.write_preprocessing(model.visual.preprocess_cfg, folder)
    tokenizer.save_pretrained(folder)
