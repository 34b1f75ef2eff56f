"""The twin, the ramp, the queue against a list, and soft targets against explicit loops."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor, nn

from mmprod.encoders.losses.contrastive import info_nce
from mmprod.encoders.losses.momentum import Queue, ramp, soft_contrastive, update_twin

D, SCALE = 5, 6.0
UNKNOWN = torch.full((4, 3), -1)


def unit(n: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return F.normalize(torch.randn(n, D, dtype=dtype, generator=torch.Generator().manual_seed(seed)), dim=1)


def numbered(*items: int) -> Tensor:
    """Identities known by their item alone."""
    return torch.tensor([[item, -1, -1] for item in items])


def test_twin_moves_by_hand() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        model[0].weight.fill_(3.0)
        twin[0].weight.fill_(1.0)
        model[1].running_mean.fill_(8.0)
        model[1].num_batches_tracked.fill_(5)
    update_twin(twin, model, 0.75)
    assert twin[0].weight.item() == 1.5  # ¾ · 1 + ¼ · 3
    update_twin(twin, model, 0.75)
    assert twin[0].weight.item() == 1.875
    assert model[0].weight.item() == 3.0
    assert twin[1].running_mean.item() == 3.5  # ¾ · (¾ · 0 + ¼ · 8) + ¼ · 8
    assert twin[1].num_batches_tracked.item() == 5


def test_a_mask_of_minus_infinity_is_copied() -> None:
    """Moving it would make NaN of it: −∞ + (−∞ − −∞)."""
    model = nn.Linear(1, 1)
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]), persistent=False)
    twin = copy.deepcopy(model)
    update_twin(twin, model, 0.9)
    assert twin.mask.tolist() == [0.0, -torch.inf]


@pytest.mark.parametrize(("momentum", "expected"), [(1.0, 1.0), (0.0, 3.0)])
def test_twin_at_the_ends(momentum: float, expected: float) -> None:
    model, twin = nn.Linear(1, 1), nn.Linear(1, 1)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 3.0)
    for parameter in twin.parameters():
        nn.init.constant_(parameter, 1.0)
    update_twin(twin, model, momentum)
    assert [p.item() for p in twin.parameters()] == [expected, expected]
    assert all(p.grad is None and p.requires_grad for p in twin.parameters())


def test_twin_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        update_twin(nn.Linear(1, 1), nn.Linear(1, 1, bias=False), 0.9)


def test_ramp() -> None:
    assert [ramp(step, 4, 0.4) for step in (0, 1, 2, 4, 9)] == [0.0, 0.1, 0.2, 0.4, 0.4]
    assert ramp(0, 0, 0.4) == 0.4


@given(st.integers(1, 7), st.lists(st.integers(0, 12), max_size=8))
def test_queue_holds_the_last_pairs(size: int, batches: list[int]) -> None:
    """As a list would: partly filled, round the end, and batches larger than the queue."""
    queue, pushed = Queue(size, 2), 0
    for n in batches:
        numbers = torch.arange(pushed, pushed + n)
        features = numbers[:, None].expand(-1, 2).double()
        queue.push(features, -features, numbers[:, None].expand(-1, 3))
        pushed += n
        expected = list(range(max(0, pushed - size), pushed))
        filled = len(queue)
        assert filled == len(expected)
        assert sorted(queue.identity[:filled, 0].tolist()) == expected
        assert (queue.identity[filled:] == -1).all()
        assert torch.equal(queue.image[:filled, 0], queue.identity[:filled, 2].float())
        assert torch.equal(queue.text, -queue.image)
        for number in expected:  # a ring: the place of a pair depends on its number alone
            assert queue.identity[number % size, 0] == number


def test_queue_travels_in_a_checkpoint() -> None:
    queue = Queue(4, D)
    queue.push(unit(3, 1), unit(3, 2), numbered(1, 2, 3))
    other = Queue(4, D)
    other.load_state_dict(load(save(queue.state_dict())))
    for one in (queue, other):
        one.push(unit(2, 3), unit(2, 4), numbered(4, 5))
    assert all(torch.equal(a, b) for a, b in zip(queue.buffers(), other.buffers(), strict=True))
    assert other.identity[:, 0].tolist() == [5, 2, 3, 4]
    assert not list(queue.parameters())


def test_what_is_in_the_queue_has_no_gradient() -> None:
    queue, features = Queue(4, D), unit(2, 1).requires_grad_()
    queue.push(features * 2, features, numbered(1, 2))
    assert not queue.image.requires_grad
    queue.push(features.bfloat16(), features.bfloat16(), numbered(1, 2))
    assert queue.image.dtype == torch.float32


def plain_soft(
    pairs: tuple[Tensor, Tensor, Tensor, Tensor],
    others: tuple[Tensor, Tensor],
    numbers: list[int],
    alpha: float,
) -> float:
    """`numbers`: items of the batch, then of the `others` (pictures, titles) in the queue; -1 is unknown."""
    image, text, image_m, text_m = pairs

    def one_way(rows: Tensor, rows_m: Tensor, columns: list[Tensor]) -> float:
        total = 0.0
        for i in range(len(rows)):
            logits = [SCALE * float(rows[i] @ c) for c in columns]
            soft = [math.exp(SCALE * float(rows_m[i] @ c)) for c in columns]
            mates = [
                j for j in range(len(columns)) if j == i or (numbers[j] == numbers[i] and numbers[i] >= 0)
            ]
            whole = math.log(sum(map(math.exp, logits)))
            for j, logit in enumerate(logits):
                hard = 1 / len(mates) if j in mates else 0
                total -= (alpha * soft[j] / sum(soft) + (1 - alpha) * hard) * (logit - whole)
        return total / len(rows)

    forth = one_way(image, image_m, [*text_m, *others[1]])
    return (forth + one_way(text, text_m, [*image_m, *others[0]])) / 2


def four() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return unit(4, 1), unit(4, 2), unit(4, 3), unit(4, 4)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("filled", [0, 3, 7])
def test_soft_contrast_equals_plain_loops(alpha: float, filled: int) -> None:
    batch, more = numbered(1, 2, 1, -1), [2, -1, 9, 1, 1, 5, 6][:filled]
    queue = Queue(7, D)
    queue.double()  # so that fp32 doesn't round what the loops see
    queue.push(unit(filled, 5), unit(filled, 6), numbered(*more) if more else UNKNOWN[:0])
    expected = plain_soft(four(), (unit(filled, 5), unit(filled, 6)), [1, 2, 1, -1, *more], alpha)
    found = soft_contrastive(*four(), queue, SCALE, alpha, batch)
    assert found.item() == pytest.approx(expected, abs=1e-12)
    if not filled:
        assert torch.equal(found, soft_contrastive(*four(), None, SCALE, alpha, batch))


def test_a_twin_that_is_the_model_with_hard_targets_gives_info_nce() -> None:
    image, text = unit(4, 1), unit(4, 2)
    found = soft_contrastive(image, text, image, text, None, SCALE, 0.0, UNKNOWN)
    torch.testing.assert_close(found, info_nce(image, text, SCALE, torch.eye(4, dtype=torch.bool)))


def test_gradients_reach_the_model_and_not_the_twin() -> None:
    image, text, image_m, text_m = (t.requires_grad_() for t in four())
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    queue, identity = Queue(3, D).double(), numbered(1, 2, 1, 3)
    queue.push(unit(3, 5), unit(3, 6), numbered(1, 9, 3))

    def hard(i: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return soft_contrastive(i, t, image_m, text_m, queue, s, 0.0, identity)

    def soft(i: Tensor, t: Tensor) -> Tensor:  # the target's own scale is no part of the gradient
        return soft_contrastive(i, t, image_m, text_m, queue, SCALE, 0.4, identity)

    assert torch.autograd.gradcheck(hard, (image, text, scale))
    assert torch.autograd.gradcheck(soft, (image, text))
    soft(image, text).backward()
    assert image_m.grad is None
    assert text_m.grad is None


@pytest.mark.parametrize(("item", "rewarded"), [(1, True), (9, False), (-1, False)])
def test_a_duplicate_in_the_queue_is_no_negative(item: int, rewarded: bool) -> None:
    """The loss falls as a queued title of the same item nears picture 0, and rises for any other."""
    features = torch.eye(4, D, dtype=torch.float64)
    queue = Queue(3, D).double()
    queue.push(features[:1], torch.eye(D, dtype=torch.float64)[-1:], numbered(item))
    queue.text.requires_grad_()
    loss = soft_contrastive(*[features] * 4, queue, SCALE, 0.0, numbered(1, 2, 3, 4))
    (gradient,) = torch.autograd.grad(loss, queue.text)
    assert (gradient[0, 0].item() < 0) == rewarded


def test_places_in_the_queue_do_not_matter() -> None:
    image, text, order = unit(3, 5), unit(3, 6), [2, 0, 1]
    queues = [Queue(3, D).double(), Queue(3, D).double()]
    queues[0].push(image, text, numbered(1, 9, 3))
    queues[1].push(image[order], text[order], numbered(1, 9, 3)[order])
    one, other = (soft_contrastive(*four(), q, SCALE, 0.4, numbered(1, 2, 1, 3)) for q in queues)
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("item", [-1, 1])
def test_extremes_are_finite(n: int, dtype: torch.dtype, item: int) -> None:
    """Scale 100; all rows one product, in the queue too, or all unknown; half precision in, fp32 out."""
    queue = Queue(6, D)
    queue.push(unit(3, 5), unit(3, 6), numbered(item, item, item))
    image, text = (unit(n, seed).to(dtype).requires_grad_() for seed in (1, 2))
    twins = (unit(n, seed).to(dtype) for seed in (3, 4))
    with torch.autocast("cpu", torch.bfloat16):
        loss = soft_contrastive(image, text, *twins, queue, 100.0, 0.4, numbered(*[item] * n))
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (image, text)))
