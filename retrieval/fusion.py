"""Weighted fusion of image and text vectors, exact under the inner product.

A profile with weights (w_img, w_txt), w_img + w_txt = 1, represents a product as
[√w_img · image, √w_txt · text]. The inner product of two such vectors is exactly
w_img · cos(image, image') + w_txt · cos(text, text'). A text query q becomes [√w_img · q, √w_txt · q].
A half of weight 0 is left out. A product without a picture or without a title has zeros in that half, so
this term of its scores is 0.
"""

import numpy as np

from mmprod.storage.errors import InputError

Weights = tuple[float, float]


def check_weights(weights: Weights) -> Weights:
    """Return the weights; InputError unless both are in [0, 1] and sum to 1 (NaN fails too)."""
    image, text = weights
    if not (0 <= image <= 1 and 0 <= text <= 1 and abs(image + text - 1) < 1e-6):
        raise InputError(f"weights image={image}, text={text}: both must lie in [0, 1] and sum to 1")
    return weights


def fuse(image: np.ndarray, text: np.ndarray, weights: Weights) -> np.ndarray:
    """Fuse image and text vectors float [n, d], unit or zero rows, to float32 [n, d or 2d]."""
    if image.shape != text.shape:
        raise InputError(f"image vectors {image.shape} and text vectors {text.shape} must have one shape")
    halves = zip(check_weights(weights), (image, text), strict=True)
    parts = [np.sqrt(np.float32(weight)) * half.astype(np.float32) for weight, half in halves if weight > 0]
    return np.concatenate(parts, axis=1)


def fuse_query(query: np.ndarray, weights: Weights, dim: int) -> np.ndarray:
    """Text queries, unit float [n, d], as query vectors for an index of dimension `dim`: float32 [n, dim].

    For an index with two halves the query is [√w_img · q, √w_txt · q]; for one modality or the half-width
    form (dim = d) it is q itself.
    """
    if dim == query.shape[1]:
        return query.astype(np.float32)
    return fuse(query, query, weights)


def half_width(image: np.ndarray, text: np.ndarray, weights: Weights) -> np.ndarray:
    """The cheaper form normalise(w_img · image + w_txt · text), float32 [n, d]; zero rows stay zero.

    Takes half the memory, but the inner product also contains the cross terms cos(image, text').
    """
    w_image, w_text = check_weights(weights)
    mixed = w_image * image.astype(np.float32) + w_text * text.astype(np.float32)
    norms = np.linalg.norm(mixed, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(mixed, norms, out=np.zeros_like(mixed), where=norms > 0)
    return unit
