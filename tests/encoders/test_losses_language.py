"""The caption loss against explicit loops and torch's cross-entropy."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmprod.encoders.losses.language import language_loss

N, L, V = 3, 5, 7
TOKENS = torch.tensor([[1, 4, 2, 6, 3], [1, 5, 5, 0, 0], [1, 2, 0, 0, 0]])
PADDING = TOKENS == 0


def logits(seed: int = 0) -> Tensor:
    return torch.randn(N, L, V, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plain(values: Tensor, tokens: Tensor, ignore: Tensor, smoothing: float) -> float:
    total, counted = 0.0, 0
    for i in range(N):
        for t in range(1, L):
            if ignore[i, t]:
                continue
            row = [float(v) for v in values[i, t - 1]]
            whole = math.log(sum(map(math.exp, row)))
            for v, value in enumerate(row):
                q = (1 - smoothing) * (v == int(tokens[i, t])) + smoothing / V
                total -= q * (value - whole)
            counted += 1
    return total / counted if counted else 0.0


@given(
    st.lists(st.booleans(), min_size=N * L, max_size=N * L),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.integers(0, 99),
)
def test_equals_plain_loops(ignored: list[bool], smoothing: float, seed: int) -> None:
    ignore = torch.tensor(ignored).view(N, L)
    found = language_loss(logits(seed), TOKENS, ignore, smoothing).item()
    assert found == pytest.approx(plain(logits(seed), TOKENS, ignore, smoothing), abs=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_torch_with_padding_as_ignored_index(smoothing: float) -> None:
    wanted = F.cross_entropy(
        logits()[:, :-1].reshape(-1, V),
        TOKENS[:, 1:].reshape(-1),
        ignore_index=0,
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(language_loss(logits(), TOKENS, PADDING, smoothing), wanted)


def test_gradient() -> None:
    values = logits().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: language_loss(x, TOKENS, PADDING, 0.1), (values,))
    language_loss(values, TOKENS, PADDING, 0.1).backward()
    seen = values.grad.abs().sum(dim=2) > 0
    assert torch.equal(seen[:, :-1], ~PADDING[:, 1:])  # position t learns where token t+1 is counted
    assert not seen[:, -1].any()


def test_what_is_ignored_changes_nothing() -> None:
    """Not the tokens at ignored places, not more padding, not the order of captions."""
    loss = language_loss(logits(), TOKENS, PADDING, 0.1)
    other = torch.where(PADDING, 3, TOKENS)
    torch.testing.assert_close(language_loss(logits(), other, PADDING, 0.1), loss)
    wider = F.pad(logits(), (0, 0, 0, 4)), F.pad(TOKENS, (0, 4)), F.pad(PADDING, (0, 4), value=True)
    torch.testing.assert_close(language_loss(*wider, 0.1), loss)
    order = [2, 0, 1]
    torch.testing.assert_close(language_loss(logits()[order], TOKENS[order], PADDING[order], 0.1), loss)


def test_prompt_is_not_learned() -> None:
    ignore = PADDING.clone()
    ignore[:, :2] = True
    wrong = TOKENS.clone()
    wrong[:, 1] = 6
    torch.testing.assert_close(
        language_loss(logits(), wrong, ignore, 0.0), language_loss(logits(), TOKENS, ignore, 0.0)
    )


def test_nothing_counted_is_nothing_lost() -> None:
    values = logits().requires_grad_()
    loss = language_loss(values, TOKENS, torch.ones_like(PADDING), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert not values.grad.any()


def test_equal_logits_cost_log_v() -> None:
    assert language_loss(torch.zeros(N, L, V), TOKENS, PADDING, 0.1).item() == pytest.approx(math.log(V))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_fp32(dtype: torch.dtype) -> None:
    values = (30 * logits()).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = language_loss(values, TOKENS, PADDING, 0.1)
    assert found.dtype == torch.float32
    exact = language_loss(values.double(), TOKENS, PADDING, 0.1)
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)
