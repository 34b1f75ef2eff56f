"""BLIP (Li et al. 2022): a picture tower, a text encoder and a text decoder; the last two share most weights.

Built from transformers' BLIP parts, with the interface of an open_clip model, so that embedding, fine-tuning
and export treat it like any other encoder.
"""

import logging
import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor, nn
from transformers import BlipConfig, GenerationConfig
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel, BlipTextModel

from mmprod.storage.errors import InputError

log = logging.getLogger(__name__)
TEMPERATURE = 0.07


class Blip(nn.Module):
    """One model for retrieval, matching and captions.

    As in the paper, the text encoder and the decoder share all weights (embeddings, cross-attention,
    feed-forward layers) except self-attention, which is bidirectional in the encoder and causal in the
    decoder. The decoder's output layer is its embedding, transposed. Names of parts and weights are those of
    transformers' ``BlipForImageTextRetrieval`` and ``BlipForConditionalGeneration``.

    Tokens are int64 [n, L] as the tokenizer returns them: ``[CLS] … [SEP]``, then padding. Where the paper
    begins a text with ``[ENC]`` (matching) or ``[DEC]`` (captions), this class replaces ``[CLS]`` by it.
    `logit_scale` is log(1 / temperature). `retrieves` is False for a checkpoint with a decoder only: its
    vectors would be noise, so the model refuses to make any.
    """

    def __init__(self, config: BlipConfig) -> None:
        super().__init__()
        text, width = config.text_config, config.image_text_hidden_size
        self.config = config
        self.vision_model = BlipVisionModel(config.vision_config)
        self.text_encoder = BlipTextModel(text, add_pooling_layer=False)
        self.text_decoder = BlipTextLMHeadModel(text)
        self.vision_proj = nn.Linear(config.vision_config.hidden_size, width)
        self.text_proj = nn.Linear(text.hidden_size, width)
        self.itm_head = nn.Linear(text.hidden_size, 2)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / TEMPERATURE)))
        self.logit_bias = None
        self.retrieves = True
        self.visual.image_size = config.vision_config.image_size
        self.visual.preprocess_cfg = preprocessing(config.vision_config.image_size)
        self._share()

    def _share(self) -> None:
        encoder, decoder = self.text_encoder, self.text_decoder.bert
        decoder.embeddings = encoder.embeddings
        for ours, theirs in zip(encoder.encoder.layer, decoder.encoder.layer, strict=True):
            for part in ("crossattention", "intermediate", "output"):
                setattr(theirs, part, getattr(ours, part))
        head = self.text_decoder.cls.predictions
        head.decoder.weight = encoder.embeddings.word_embeddings.weight
        head.decoder.bias = head.bias

    @property
    def visual(self) -> Any:
        """The picture tower, with `image_size` and open_clip's `preprocess_cfg`."""
        return self.vision_model

    def image_states(self, pixels: Tensor) -> Tensor:
        """Pixels float [n, 3, s, s] to one state a patch, after the class token's: [n, 1 + patches, h]."""
        states: Tensor = self.vision_model(pixels).last_hidden_state
        return states

    def encode_image(self, pixels: Tensor, normalize: bool = False) -> Tensor:
        """Pixels float [n, 3, s, s] to ITC vectors [n, d]."""
        return self.project_image(self.image_states(pixels), normalize)

    def project_image(self, states: Tensor, normalize: bool = False) -> Tensor:
        """States of `image_states` to ITC vectors [n, d]. Raises: InputError without retrieval heads."""
        self._check_retrieves()
        return _unit(self.vision_proj(states[:, 0]), normalize)

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """Tokens to ITC vectors [n, d]. Raises: InputError without retrieval heads."""
        self._check_retrieves()
        states = self.text_encoder(tokens, attention_mask=self._mask(tokens)).last_hidden_state
        return _unit(self.text_proj(states[:, 0]), normalize)

    def match(self, image_states: Tensor, tokens: Tensor) -> Tensor:
        """ITM logits [k, 2] of k pairs; column 1: the text describes the picture."""
        self._check_retrieves()
        start = min(self.config.text_config.bos_token_id + 1, self.config.text_config.vocab_size - 1)
        states = self.text_encoder(
            _begun_by(tokens, start), attention_mask=self._mask(tokens), encoder_hidden_states=image_states
        ).last_hidden_state
        logits: Tensor = self.itm_head(states[:, 0])
        return logits

    def caption_logits(self, image_states: Tensor, tokens: Tensor) -> Tensor:
        """Logits [n, L, vocabulary]: at each position those of the next token, given picture and prefix."""
        logits: Tensor = self.text_decoder(
            _begun_by(tokens, self.config.text_config.bos_token_id),
            attention_mask=self._mask(tokens),
            encoder_hidden_states=image_states,
            use_cache=False,
        ).logits
        return logits

    def generate(self, image_states: Tensor, prompt: Tensor, **options: Any) -> Tensor:
        """Continue `prompt` int64 [1, m], ``[CLS] …`` without ``[SEP]``, for each picture.

        Returns int64 [n, L], ending in ``[SEP]`` and padded. `options`: those of ``GenerationConfig`` in
        transformers.
        """
        text = self.config.text_config
        settings = GenerationConfig(
            bos_token_id=text.bos_token_id,
            eos_token_id=text.sep_token_id,
            pad_token_id=text.pad_token_id,
            **options,
        )
        start = _begun_by(prompt, text.bos_token_id).expand(len(image_states), -1).contiguous()
        made: Tensor = self.text_decoder.generate(
            input_ids=start,
            attention_mask=torch.ones_like(start),
            encoder_hidden_states=image_states,
            generation_config=settings,
        )
        return made

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the picture tower's activations in the backward pass instead of storing them.

        transformers' BLIP text towers don't support this and store theirs.
        """
        if enable:
            self.vision_model.activation_checkpointing_enable()
        else:
            self.vision_model.activation_checkpointing_disable()

    def _mask(self, tokens: Tensor) -> Tensor:
        mask: Tensor = tokens != self.config.text_config.pad_token_id
        return mask.long()

    def _check_retrieves(self) -> None:
        if not self.retrieves:
            raise InputError(
                "this BLIP has a caption decoder but no retrieval heads (ITC, ITM): it can caption, not "
                "embed or match; take a base with them, such as Salesforce/blip-itm-base-coco"
            )


def preprocessing(side: int) -> dict[str, Any]:
    """BLIP's preprocessing in open_clip's terms: squashed to `side` pixels, CLIP's mean and deviation."""
    return {
        "size": side,
        "mode": "RGB",
        "mean": OPENAI_DATASET_MEAN,
        "std": OPENAI_DATASET_STD,
        "interpolation": "bicubic",
        "resize_mode": "squash",
        "fill_color": 0,
    }


def _unit(vectors: Tensor, normalize: bool) -> Tensor:
    return F.normalize(vectors, dim=-1) if normalize else vectors


def _begun_by(tokens: Tensor, start: int) -> Tensor:
    return torch.cat([torch.full_like(tokens[:, :1], start), tokens[:, 1:]], dim=1)
