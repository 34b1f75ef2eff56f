"""Hard negatives: never a positive, as often as the softmax says; the matching loss by hand."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st

from mmprod.encoders.losses.matching import hard_negatives, matching_loss
from mmprod.encoders.losses.positives import positives


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_drawn_as_often_as_the_softmax_over_non_positives_says() -> None:
    """Chi-square over 40,000 draws of one row: below 13.8, which chance passes once in 1,000 seeds."""
    logits = torch.tensor([9.0, 1.0, 0.0, 9.0, 2.0])  # columns 0 (own) and 3 are positives, and likest
    draws, barred = 40_000, torch.tensor([True, False, False, True, False])
    similarity = logits.expand(draws, 5)
    positive = barred.expand(draws, 5).clone()
    positive[:, 0] = True
    # row i's own column is i, so the first five rows bar another one: leave them out
    drawn = hard_negatives(similarity, positive, generator())[5:]
    counts = torch.bincount(drawn, minlength=5).double()
    assert counts[0] == counts[3] == 0
    weights = [math.exp(1), math.exp(0), math.exp(2)]
    expected = torch.tensor([w / sum(weights) for w in weights], dtype=torch.float64) * len(drawn)
    chi_square = ((counts[[1, 2, 4]] - expected) ** 2 / expected).sum()
    assert chi_square < 13.8  # two degrees of freedom


@given(st.integers(0, 1000), st.integers(1, 9), st.integers(0, 6), st.sampled_from([0.0, 1.0, 100.0, 1e4]))
def test_never_a_positive(seed: int, n: int, more: int, scale: float) -> None:
    identity = torch.randint(-1, 3, (n + more, 3), generator=generator(seed))
    positive = positives(identity[:n], identity)
    similarity = scale * torch.randn(n, n + more, generator=generator(seed))
    drawn = hard_negatives(similarity, positive, generator(seed))
    barred = positive | torch.eye(n, n + more, dtype=torch.bool)
    for row, column in enumerate(drawn.tolist()):
        if column == -1:
            assert barred[row].all()
        else:
            assert not barred[row, column]


def test_unknown_products_never_draw_their_own_partner() -> None:
    similarity = 50 * torch.eye(8)
    nothing = torch.zeros(8, 8, dtype=torch.bool)
    for seed in range(50):
        assert (hard_negatives(similarity, nothing, generator(seed)) != torch.arange(8)).all()


def test_where_all_are_positives_there_is_none() -> None:
    positive = torch.ones(3, 3, dtype=torch.bool)
    assert hard_negatives(torch.randn(3, 3), positive, generator()).tolist() == [-1, -1, -1]
    positive[1, 2] = False
    assert hard_negatives(torch.randn(3, 3), positive, generator()).tolist() == [-1, 2, -1]
    assert hard_negatives(torch.ones(1, 1), ~positive[:1, :1], generator()).tolist() == [-1]


def test_the_same_generator_draws_the_same() -> None:
    similarity, nothing = torch.randn(64, 64, generator=generator(1)), torch.zeros(64, 64, dtype=torch.bool)
    first = hard_negatives(similarity, nothing, generator(5))
    assert torch.equal(first, hard_negatives(similarity, nothing, generator(5)))
    assert not torch.equal(first, hard_negatives(similarity, nothing, generator(6)))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    hard_negatives(similarity, nothing, generator(5))
    assert torch.equal(state, torch.get_rng_state())  # the global one isn't touched


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_hardest_at_a_high_scale(dtype: torch.dtype) -> None:
    similarity = (100 * torch.eye(4).roll(1, dims=1)).to(dtype).requires_grad_()
    drawn = hard_negatives(similarity, torch.zeros(4, 4, dtype=torch.bool), generator())
    assert drawn.tolist() == [1, 2, 3, 0]
    assert drawn.dtype == torch.int64
    assert not drawn.requires_grad


def test_matching_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [math.log(3), 0.0]], dtype=torch.float64)
    matched = torch.tensor([True, True])
    assert matching_loss(logits, matched).item() == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    matched = torch.tensor([True, False])
    assert matching_loss(logits, matched).item() == pytest.approx(-math.log(0.75))


def test_matching_loss_gradient_and_precision() -> None:
    logits = torch.randn(5, 2, dtype=torch.float64, generator=generator()).requires_grad_()
    matched = torch.tensor([True, False, False, True, False])
    assert torch.autograd.gradcheck(lambda x: matching_loss(x, matched), (logits,))
    half = matching_loss(logits.bfloat16(), matched)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, F.cross_entropy(logits.bfloat16().float(), matched.long()))
    assert matching_loss(torch.tensor([[1e4, -1e4]]), torch.tensor([True])).isfinite()
