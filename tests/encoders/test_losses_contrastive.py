"""InfoNCE and SigLIP against explicit loops and open_clip, and what a duplicate in the batch does."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor

from mmprod.encoders.losses.contrastive import info_nce, siglip
from mmprod.encoders.losses.positives import positives

N, D, SCALE = 6, 8, 7.0


def unit(n: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return F.normalize(torch.randn(n, D, dtype=dtype, generator=torch.Generator().manual_seed(seed)), dim=1)


def nothing(n: int = N) -> Tensor:
    return torch.zeros(n, n, dtype=torch.bool)


def some() -> Tensor:
    """Rows 0 and 2 share an item, 2 and 5 a title, 1 and 3 a picture."""
    identity = torch.tensor([[7, 0, 0], [-1, 4, 1], [7, 2, 9], [-1, 4, 3], [-1, -1, -1], [8, 6, 9]])
    return positives(identity, identity)


def plain_info_nce(image: Tensor, text: Tensor, scale: float, positive: Tensor) -> float:
    def one_way(rows: Tensor, columns: Tensor) -> float:
        total = 0.0
        for i in range(len(rows)):
            logits = [scale * float(rows[i] @ columns[j]) for j in range(len(columns))]
            whole = math.log(sum(math.exp(logit) for logit in logits))
            mates = [j for j in range(len(columns)) if positive[i, j] or i == j]
            total += -sum(logits[j] - whole for j in mates) / len(mates)
        return total / len(rows)

    return (one_way(image, text) + one_way(text, image)) / 2


def plain_siglip(image: Tensor, text: Tensor, scale: float, bias: float, positive: Tensor) -> float:
    total = 0.0
    for i in range(len(image)):
        for j in range(len(text)):
            sign = 1 if positive[i, j] or i == j else -1
            total += math.log1p(math.exp(-sign * (scale * float(image[i] @ text[j]) + bias)))
    return total / len(image)


def test_identities() -> None:
    """By item, by picture, by title; unknown numbers are equal to nothing; not transitive."""
    expected = {(0, 2), (2, 5), (1, 3)}
    found = some()
    pairs = {(i, j) for i in range(N) for j in range(N) if i < j and found[i, j]}
    assert pairs == expected
    assert torch.equal(found, found.T)
    assert not found[4].any()  # nothing is known of it, not even that it is itself


def test_identities_of_other_columns() -> None:
    rows = torch.tensor([[1, 2, 3], [-1, -1, -1]])
    columns = torch.tensor([[1, 9, 9], [9, 1, 1], [-1, 9, 3], [-1, -1, -1]])
    assert positives(rows, columns).tolist() == [[True, False, True, False], [False] * 4]


@pytest.mark.parametrize("positive", [nothing(), some(), ~nothing()], ids=["none", "some", "all"])
def test_losses_equal_plain_loops(positive: Tensor) -> None:
    image, text = unit(N, 1), unit(N, 2)
    assert info_nce(image, text, SCALE, positive).item() == pytest.approx(
        plain_info_nce(image, text, SCALE, positive), abs=1e-12
    )
    assert siglip(image, text, SCALE, -3.0, positive).item() == pytest.approx(
        plain_siglip(image, text, SCALE, -3.0, positive), abs=1e-12
    )


def test_without_duplicates_they_are_open_clip_s() -> None:
    image, text = unit(N, 1, torch.float32), unit(N, 2, torch.float32)
    scale, bias = torch.tensor(14.0), torch.tensor(-10.0)
    ours = info_nce(image, text, scale, torch.eye(N, dtype=torch.bool))
    torch.testing.assert_close(ours, ClipLoss()(image, text, scale))
    torch.testing.assert_close(
        siglip(image, text, scale, bias, nothing()), SigLipLoss()(image, text, scale, bias)
    )


def test_gradients() -> None:
    image, text = unit(N, 1).requires_grad_(), unit(N, 2).requires_grad_()
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)
    positive = some()
    assert torch.autograd.gradcheck(lambda i, t, s: info_nce(i, t, s, positive), (image, text, scale))
    assert torch.autograd.gradcheck(
        lambda i, t, s, b: siglip(i, t, s, b, positive), (image, text, scale, bias)
    )


@given(st.permutations(range(N)))
def test_order_of_the_batch_does_not_matter(order: list[int]) -> None:
    image, text, positive = unit(N, 1), unit(N, 2), some()
    moved = image[order], text[order]
    again = positive[order][:, order]
    torch.testing.assert_close(info_nce(*moved, SCALE, again), info_nce(image, text, SCALE, positive))
    torch.testing.assert_close(siglip(*moved, SCALE, -1.0, again), siglip(image, text, SCALE, -1.0, positive))


def duplicated() -> tuple[Tensor, Tensor, Tensor]:
    """A batch in which pair 5 is pair 0 once more, with equal features."""
    image, text = unit(N, 1), unit(N, 2)
    image[5], text[5] = image[0], text[0]
    positive = nothing()
    positive[0, 5] = positive[5, 0] = True
    return image, text, positive


def test_a_duplicate_is_drawn_exactly_as_the_own_partner_is() -> None:
    """The gradient of each logit is (p − y)/n: equal for a pair and its copy, whichever stands where."""
    image, text, positive = duplicated()
    text = text.clone().requires_grad_()
    for loss in (info_nce(image, text, SCALE, positive), siglip(image, text, SCALE, -1.0, positive)):
        (gradient,) = torch.autograd.grad(loss, text)
        torch.testing.assert_close(gradient[0], gradient[5])


def test_copies_of_one_pair_leave_nothing_to_tell_apart() -> None:
    """Where all rows are one product any features that are alike are the optimum: no gradient."""
    image = unit(1, 3).repeat(N, 1).requires_grad_()
    loss = info_nce(image, image.detach(), SCALE, ~nothing())
    (gradient,) = torch.autograd.grad(loss, image)
    assert loss.item() == pytest.approx(math.log(N))
    assert gradient.abs().max() < 1e-12
    (apart,) = torch.autograd.grad(info_nce(image, unit(N, 4), SCALE, nothing()), image)
    assert apart.abs().max() > 1e-3


@pytest.mark.parametrize("known", [True, False])
def test_likeness_to_a_duplicate_is_rewarded_and_to_another_punished(known: bool) -> None:
    positive = nothing()
    positive[0, 1] = positive[1, 0] = known
    image = torch.eye(N, D, dtype=torch.float64)
    text = image.clone().requires_grad_()
    for loss in (info_nce(image, text, SCALE, positive), siglip(image, text, SCALE, 0.0, positive)):
        (gradient,) = torch.autograd.grad(loss, text)
        towards_picture_0 = gradient[1, 0].item()  # by how much the loss rises as title 1 nears picture 0
        assert (towards_picture_0 < 0) == known


@pytest.mark.parametrize("scale", [100.0, 0.0])
@pytest.mark.parametrize("n", [1, N])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extremes_are_finite(scale: float, n: int, dtype: torch.dtype) -> None:
    image, text = (unit(n, seed, torch.float32).to(dtype).requires_grad_() for seed in (1, 2))
    for positive in (nothing(n), ~nothing(n)):
        for loss in (
            info_nce(image, text, scale, positive),
            siglip(image, text, scale, torch.tensor(-10.0), positive),
        ):
            assert loss.dtype == torch.float32
            assert loss.isfinite()
            assert loss >= 0
            assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (image, text)))


def test_half_precision_is_computed_in_fp32() -> None:
    """Inside autocast too, where a plain product would be rounded to eight bits."""
    image, text = unit(N, 1, torch.bfloat16), unit(N, 2, torch.bfloat16)
    exact = info_nce(image.double(), text.double(), 100.0, some())
    with torch.autocast("cpu", torch.bfloat16):
        found = info_nce(image, text, torch.tensor(100.0), some())
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        found = siglip(image, text, torch.tensor(100.0), torch.tensor(-10.0), some())
    exact = siglip(image.double(), text.double(), 100.0, -10.0, some())
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)


def test_one_row_has_nothing_to_learn_from_contrast() -> None:
    assert info_nce(unit(1, 1), unit(1, 2), 100.0, nothing(1)).item() == 0
