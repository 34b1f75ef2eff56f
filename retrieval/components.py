"""The image score and the text score that make up a fused score."""

import numpy as np


def spans(weights: tuple[float, float], width: int, dim: int) -> tuple[slice | None, slice | None]:
    """The slices of the image half and the text half in a fused vector; None for a half that is absent.

    A vector of dimension 2 * `width` has both halves. One of dimension `width` has the only modality with a
    weight or, if both have one, a mixture that can't be separated.
    """
    w_img, w_txt = weights
    if dim == 2 * width:
        return (slice(0, width) if w_img else None), (slice(width, dim) if w_txt else None)
    whole = slice(0, dim)
    return (None if w_txt else whole), (None if w_img else whole)


def component_scores(
    left: np.ndarray, right: np.ndarray, weights: tuple[float, float], width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine of the image parts and of the text parts of fused vectors [√w_img · image, √w_txt · text].

    left, right: float (…, dim), broadcast against each other; weights: (w_img, w_txt), sum 1; width: d of
    the encoder. Score = inner product of the halves / weight, so that
    w_img * image_score + w_txt * text_score is the inner product of the vectors (NaN counts as 0).
    Returns two float32 (…): NaN if the weight is 0 or if either half is all zero (modality missing).
    """
    image, text = spans(weights, width, left.shape[-1])
    return _score(left, right, image, weights[0]), _score(left, right, text, weights[1])


def _score(left: np.ndarray, right: np.ndarray, span: slice | None, weight: float) -> np.ndarray:
    if span is None:
        return np.full(np.broadcast_shapes(left.shape, right.shape)[:-1], np.nan, np.float32)
    left, right = left[..., span], right[..., span]
    known = left.any(axis=-1) & right.any(axis=-1)
    cosine = np.einsum("...d,...d->...", left, right, dtype=np.float64) / weight
    return np.where(known, cosine, np.nan).astype(np.float32)
