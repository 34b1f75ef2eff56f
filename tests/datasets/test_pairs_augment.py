"""Augmentation moves pixels, never colours."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmprod.datasets.pairs.augment import Augment, plain
from mmprod.storage.errors import InputError

MODES = ("shortest", "longest", "squash")
COLOUR = st.tuples(*[st.integers(0, 255)] * 3)
AUGMENT = st.builds(
    Augment,
    side=st.sampled_from([1, 7, 32]),
    mode=st.sampled_from(MODES),
    scale=st.sampled_from([(0.8, 1.0), (0.05, 0.3), (1.0, 1.0)]),
    ratio=st.sampled_from([(0.9, 1.11), (0.2, 5.0), (1.0, 1.0)]),
)
SIZE = st.integers(1, 50)
SEED = st.integers(0, 2**32)
ODD_SIZES = [(1, 1), (1, 2000), (2000, 1), (2, 3), (61, 80)]


def noise(width: int, height: int, seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def filled(augment: Augment, colour: tuple[int, int, int]) -> Augment:
    """The same, padding with a colour that the picture has, so that padding is no new colour."""
    return Augment(augment.side, augment.mode, colour, augment.scale, augment.ratio, augment.flip)


@given(SIZE, SIZE, AUGMENT, SEED)
def test_every_channel_stays_within_its_range(width: int, height: int, augment: Augment, seed: int) -> None:
    picture = noise(width, height, seed)
    source = np.asarray(picture).reshape(-1, 3)
    out = filled(augment, tuple(source[0].tolist()))(picture, np.random.default_rng(seed))
    assert out.shape == (3, augment.side, augment.side)
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous
    assert (out.reshape(3, -1).min(axis=1) >= source.min(axis=0)).all()
    assert (out.reshape(3, -1).max(axis=1) <= source.max(axis=0)).all()


@given(SIZE, SIZE, COLOUR, AUGMENT, SEED)
def test_a_flat_picture_stays_as_it_is(width, height, colour, augment, seed) -> None:
    picture = Image.new("RGB", (width, height), colour)
    out = filled(augment, colour)(picture, np.random.default_rng(seed))
    assert (colour == out.reshape(3, -1).T).all()


@given(SIZE, SIZE, COLOUR, COLOUR, AUGMENT, SEED)
def test_two_colours_give_only_mixtures_of_the_two(width, height, one, other, augment, seed) -> None:
    random = np.random.default_rng(seed)
    a, b = np.array(one, float), np.array(other, float)
    which = random.random((height, width, 1)) < 0.5
    picture = Image.fromarray(np.where(which, a, b).astype(np.uint8))
    out = filled(augment, one)(picture, random).reshape(3, -1).T.astype(float)
    length = ((b - a) ** 2).sum()
    part = ((out - a) @ (b - a) / length).clip(0, 1) if length else np.zeros(len(out))
    nearest = a + part[:, None] * (b - a)
    assert np.linalg.norm(out - nearest, axis=1).max() <= 3**0.5  # two passes round each channel by 1/2


@given(SIZE, SIZE, COLOUR, AUGMENT, SEED)
def test_shades_of_one_hue_stay_of_that_hue(width, height, colour, augment, seed) -> None:
    """Shades k · colour give k' · colour: the hue angle can't move, only which shade is where."""
    random = np.random.default_rng(seed)
    base = np.array(colour, float)
    shades = random.random((height, width, 1)) * base
    picture = Image.fromarray(shades.round().astype(np.uint8))
    out = filled(augment, (0, 0, 0))(picture, random).reshape(3, -1).T.astype(float)
    if base.any():
        k = out @ base / (base @ base)
        away = np.linalg.norm(out - k[:, None] * base, axis=1)
        assert away.max() <= 1.5 * 3**0.5  # the passes round each channel by 1/2, the source did


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", ODD_SIZES)
def test_crops_stay_in_bounds_for_any_size(size: tuple[int, int], mode: str) -> None:
    picture, augment = noise(*size, seed=0), Augment(64, mode, scale=(0.01, 1.0), ratio=(0.05, 20.0))
    for seed in range(200):
        random = np.random.default_rng(seed)
        left, top, right, bottom = augment._crop(*size, random)
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
        if seed < 10:
            assert augment(picture, random).shape == (3, 64, 64)


def test_the_crop_keeps_the_share_and_the_proportions_that_were_asked_for() -> None:
    augment, random = Augment(8), np.random.default_rng(0)
    boxes = np.array([augment._crop(300, 400, random) for _ in range(2000)])
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert 0.75 < (wide * high / 120_000).min() < 0.82  # cut off where the picture ends
    assert 0.97 < (wide * high / 120_000).max() <= 1
    ratio = wide / high / 0.75
    assert 0.9 - 1e-9 <= ratio.min() < 0.92
    assert 1.09 < ratio.max() <= 1.11 + 1e-9


def test_modes_by_hand() -> None:
    """A picture half black, half white, 4 wide and 2 high, at 2 x 2."""
    levels = np.zeros((2, 4, 3), np.uint8)
    levels[:, 2:] = 255
    picture, random = Image.fromarray(levels), np.random.default_rng(0)
    assert plain(2, "shortest")(picture, random)[0].tolist() == [[0, 255]] * 2
    long = plain(4, "longest", fill=(9, 8, 7))(picture, random)
    assert long[0].tolist() == [[9] * 4, [0, 0, 255, 255], [0, 0, 255, 255], [9] * 4]
    assert long[:, 0, 0].tolist() == [9, 8, 7]
    squashed = plain(2, "squash")(picture, random)[0]
    assert squashed[0, 0] < 40 and squashed[0, 1] > 215
    mirrored = Augment(4, "longest", 9, (1.0, 1.0), (1.0, 1.0), flip=1.0)(picture, random)
    assert mirrored[0, 1].tolist() == [255, 255, 0, 0]


@settings(max_examples=20)
@given(SEED)
def test_it_is_told_by_the_generator_alone_and_travels(seed: int) -> None:
    augment = Augment(16, "longest", 255)
    picture, again = noise(30, 40, 1), pickle.loads(pickle.dumps(augment))
    first, second = (a(picture, np.random.default_rng(seed)) for a in (augment, again))
    assert np.array_equal(first, second)


def test_plain_uses_no_chance() -> None:
    picture = noise(30, 40, 1)
    outs = {
        plain(16, mode)(picture, np.random.default_rng(seed)).tobytes() for seed in range(9) for mode in MODES
    }
    assert len(outs) == 3


@pytest.mark.parametrize(
    "wrong",
    [{"side": 0}, {"mode": "crop"}, {"scale": (0.0, 1.0)}, {"scale": (0.5, 1.1)}, {"ratio": (2.0, 1.0)}],
)
def test_bounds_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(InputError, match="want"):
        Augment(**{"side": 8, **wrong})
