"""The same-item loss against explicit loops, part by part."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmprod.encoders.losses.contrastive import info_nce
from mmprod.encoders.losses.same_item import same_item_loss

N, D, SCALE = 6, 8, 7.0
ITEMS = torch.tensor([1, 2, 1, 3, 2, 1])
SAME = ITEMS[:, None] == ITEMS[None, :]
OWN = torch.eye(N, dtype=torch.bool)
PARTS = {"pictures": (1.0, 0.0, 0.0), "titles": (0.0, 1.0, 0.0), "across": (0.0, 0.0, 1.0)}


def unit(n: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return F.normalize(torch.randn(n, D, dtype=dtype, generator=torch.Generator().manual_seed(seed)), dim=1)


def plain(rows: Tensor, columns: Tensor, positive: Tensor, own: bool) -> float:
    """L_out of Khosla et al.; `own`: whether a row's own column is among the candidates and positives."""
    losses = []
    for i in range(len(rows)):
        candidates = [j for j in range(len(columns)) if own or j != i]
        mates = [j for j in candidates if positive[i, j] or i == j]
        if not mates:
            continue
        whole = math.log(sum(math.exp(SCALE * float(rows[i] @ columns[a])) for a in candidates))
        losses.append(-sum(SCALE * float(rows[i] @ columns[p]) - whole for p in mates) / len(mates))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("positive", [SAME, SAME & ~OWN, OWN, ~OWN | OWN], ids=["own", "bare", "none", "all"])
def test_equals_plain_loops(positive: Tensor) -> None:
    image, text = unit(N, 1), unit(N, 2)
    expected = {
        "pictures": plain(image, image, positive, own=False),
        "titles": plain(text, text, positive, own=False),
        "across": (plain(image, text, positive, own=True) + plain(text, image, positive, own=True)) / 2,
    }
    for part, weights in PARTS.items():
        found = same_item_loss(image, text, positive, SCALE, weights).item()
        assert found == pytest.approx(expected[part], abs=1e-12), part
    whole = same_item_loss(image, text, positive, SCALE, (2.0, 3.0, 0.5)).item()
    by_hand = 2 * expected["pictures"] + 3 * expected["titles"] + 0.5 * expected["across"]
    assert whole == pytest.approx(by_hand, abs=1e-12)


def test_across_is_info_nce() -> None:
    image, text = unit(N, 1), unit(N, 2)
    torch.testing.assert_close(
        same_item_loss(image, text, SAME, SCALE, PARTS["across"]), info_nce(image, text, SCALE, SAME)
    )


def test_by_hand() -> None:
    """Two listings of one item with equal pictures, one other at a right angle: −log e^s / (e^s + 1)."""
    image = torch.tensor([[1.0, 0], [1, 0], [0, 1]], dtype=torch.float64)
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    found = same_item_loss(image, image, same, 2.0, PARTS["pictures"]).item()
    assert found == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + 1)))


@pytest.mark.parametrize("weights", [*PARTS.values(), (1.0, 1.0, 1.0)])
@pytest.mark.parametrize("positive", [SAME, OWN], ids=["some", "none"])
def test_gradient(weights: tuple[float, float, float], positive: Tensor) -> None:
    image, text = unit(N, 1).requires_grad_(), unit(N, 2).requires_grad_()
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda i, t, s: same_item_loss(i, t, positive, s, weights), (image, text, scale)
    )


@given(st.permutations(range(N)))
def test_order_of_the_batch_does_not_matter(order: list[int]) -> None:
    image, text = unit(N, 1), unit(N, 2)
    moved = same_item_loss(image[order], text[order], SAME[order][:, order], SCALE)
    torch.testing.assert_close(moved, same_item_loss(image, text, SAME, SCALE))


def test_items_listed_once_count_only_as_negatives() -> None:
    """Without another listing a row has no loss of its own; as a candidate it repels the others."""
    image, text = unit(N, 1), unit(N, 2)
    assert same_item_loss(image, text, OWN, SCALE, PARTS["pictures"]).item() == 0
    once = image.clone().requires_grad_()
    same_item_loss(once, text, SAME, SCALE, PARTS["pictures"]).backward()
    assert once.grad is not None
    assert once.grad[3].abs().sum() > 0  # item 3 is listed once
    fewer = [0, 1, 2, 4, 5]
    without = same_item_loss(image[fewer], text[fewer], SAME[fewer][:, fewer], SCALE, PARTS["pictures"])
    assert without < same_item_loss(image, text, SAME, SCALE, PARTS["pictures"])


def test_another_listing_is_rewarded_for_likeness_and_another_item_punished() -> None:
    image = torch.eye(3, D, dtype=torch.float64)
    same = torch.eye(3, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    for part in PARTS.values():
        text = image.clone().requires_grad_()
        other = text if part == PARTS["titles"] else image
        moved = other if part == PARTS["titles"] else image.clone().requires_grad_()
        loss = same_item_loss(moved, text, same, SCALE, part)
        (gradient,) = torch.autograd.grad(loss, moved)
        assert gradient[1, 0] < 0  # nearer to its other listing
        assert gradient[2, 0] > 0  # nearer to another item


@pytest.mark.parametrize("n", [1, 2, N])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("alike", [True, False])
def test_extremes_are_finite(n: int, dtype: torch.dtype, alike: bool) -> None:
    """One row, all rows one item, no item twice; scale 100; half precision in, fp32 out."""
    image, text = (unit(n, seed).to(dtype).requires_grad_() for seed in (1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        loss = same_item_loss(image, text, torch.full((n, n), alike), 100.0)
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert loss >= 0
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (image, text)))
    if n == 1:
        assert loss.item() == 0
