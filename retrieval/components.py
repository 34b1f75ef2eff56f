"""The image and the text score behind a fused score."""

import numpy as np


def spans(weights: tuple[float, float], width: int, dim: int) -> tuple[slice | None, slice | None]:
    """Where the image and the text half lie in a fused vector; None where there is none.

    A vector of dimension 2 * `width` holds both; one of `width` holds the only weighted modality, or,
    with two weights, a mixture that can't be taken apart.
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
    w_img * image_score + w_txt * text_score is the inner product of the vectors (NaN counting 0).
    Returns two float32 (…): NaN where a weight is 0 or either side's half is all zero (no such modality).
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
