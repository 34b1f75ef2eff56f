"""Running text towers without the padding of their inputs.

A title fills a fifth of its context window; the rest is padding that costs as much to compute as text. Two
kinds of tower give exactly the same features without it:

- causal towers that pool at the end-of-text token (CLIP): a position attends only to earlier ones, so
  positions after the pooled one have no effect;
- towers that mask the padding (BERT in Chinese-CLIP and BLIP): models with a transformers `config`, which
  gives the pad token.

In other towers (SigLIP: no mask, pooled at the last position) padding has an effect, so it is kept.
"""

from typing import Any, NamedTuple

import open_clip
import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from open_clip.transformer import TextTransformer
from torch import Tensor, nn


class _Causal(NamedTuple):
    """A causal text tower, and how it finds the position that it pools."""

    tower: Any
    pool: str  # "argmax": at the largest token number; "eos": at the first `eos`
    eos: int

    def pooled(self, tokens: Tensor) -> Tensor:
        """Pooled position of each row, int64 [n]."""
        sought = tokens if self.pool == "argmax" else tokens.eq(self.eos).int()
        return sought.argmax(dim=-1)


def lengths(model: nn.Module, tokens: Tensor) -> Tensor:
    """Number of leading tokens that each row of `tokens` (int64 [n, L]) needs: int64 [n], each at most L."""
    if config := getattr(model, "config", None):
        pad = config.text_config.pad_token_id
        columns = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        last: Tensor = ((tokens != pad) * columns).amax(dim=-1)
        return last.clamp(min=1)
    if causal := _causal(model):
        return causal.pooled(tokens) + 1
    return torch.full((len(tokens),), tokens.shape[1], device=tokens.device)


def trim(model: nn.Module, tokens: Tensor) -> Tensor:
    """The leading columns of `tokens` int64 [n, L] that the longest row needs: [n, at most L], a view."""
    return tokens[:, : int(lengths(model, tokens).max())] if len(tokens) else tokens


def encode_text(model: nn.Module, tokens: Tensor, normalize: bool = False) -> Tensor:
    """Features [n, d] of `tokens` int64 [n, L], trimmed or not; of unit length if `normalize`.

    Equal to ``model.encode_text`` on the untrimmed tokens. For causal towers that method requires the full
    number of columns, so the tower is run here, on its first L positions.
    """
    causal = _causal(model)
    if causal is None:
        features: Tensor = model.encode_text(tokens, normalize=normalize)  # type: ignore[operator]
        return features
    tower, length, kind = causal.tower, tokens.shape[1], causal.tower.transformer.get_cast_dtype()
    x = tower.token_embedding(tokens).to(kind) + tower.positional_embedding[:length].to(kind)
    x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])
    rows = torch.arange(x.shape[0], device=x.device)  # len(x) would be a constant to the exporter
    x = tower.ln_final(x[rows, causal.pooled(tokens)])
    features = _projected(tower.text_projection, x)
    return F.normalize(features, dim=-1) if normalize else features


def _causal(model: nn.Module) -> _Causal | None:
    """The model's text tower if it is open_clip's, causal, and pools at the end of the text; else None."""
    found = None
    if isinstance(model, open_clip.CLIP):
        found = _Causal(model, model.text_pool_type, model.text_eos_id)
    elif isinstance(tower := getattr(model, "text", None), TextTransformer):
        plain = tower.cls_emb is None and not tower.output_tokens
        found = _Causal(tower, tower.pool_type, tower.eos_id) if plain else None
    fits = found is not None and found.tower.attn_mask is not None and found.pool in ("argmax", "eos")
    return found if fits else None


def _projected(projection: nn.Module | Tensor | None, x: Tensor) -> Tensor:
    """Apply the projection, which open_clip stores as a matrix, as a layer, or not at all."""
    if projection is None:
        return x
    projected: Tensor = projection(x) if isinstance(projection, nn.Module) else x @ projection
    return projected
