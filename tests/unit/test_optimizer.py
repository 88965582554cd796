"""Learning rate and float32 masters."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from embedloom.train.optimizer import Master, learning_rate


def test_the_rate_goes_up_over_the_warm_up_and_down_to_nothing() -> None:
    rates = [learning_rate(step, peak=1.0, warmup=4, steps=10) for step in range(10)]
    np.testing.assert_allclose(rates, [0.2, 0.4, 0.6, 0.8, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert learning_rate(0, peak=1.0, warmup=0, steps=3) == 1.0
    assert learning_rate(3, peak=1.0, warmup=0, steps=3) == 0.0


def test_small_steps_add_up_on_bfloat16_weights() -> None:
    """At 1.0 bfloat16 steps by 2**-7: a thousand steps of 1e-4 would each be rounded away."""
    weight = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    master = Master([weight], weight_decay=0.0)
    for _ in range(1000):
        weight.grad = torch.ones_like(weight)
        master.step(1e-4, clip=1e9)
    np.testing.assert_allclose(master.copies[0].detach(), 0.9, atol=2e-3)
    np.testing.assert_allclose(weight.detach().float(), 0.9, atol=2**-8)
    alone = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    plain = torch.optim.AdamW([alone], lr=1e-4, weight_decay=0.0)
    for _ in range(1000):
        alone.grad = torch.ones_like(alone)
        plain.step()
    assert torch.equal(alone.detach(), torch.ones(4, dtype=torch.bfloat16)), (
        "bfloat16 alone would do; no master is needed"
    )


def test_float32_weights_step_as_adamw_steps_them() -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(5))
    theirs = nn.Parameter(ours.detach().clone())
    master = Master([ours, nn.Parameter(torch.ones(2), requires_grad=False)], weight_decay=0.1)
    peer = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
    for step in range(5):
        gradient = torch.randn(5) * 3
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        expected = float(torch.nn.utils.clip_grad_norm_([theirs], 1.0))
        peer.step()
        assert master.step(0.01, clip=1.0) == expected, step
        assert ours.grad is None
    assert torch.equal(ours, theirs)


def test_state_goes_on_where_it_was() -> None:
    def run(weight: nn.Parameter, master: Master, steps: range) -> None:
        for step in steps:
            weight.grad = torch.full_like(weight, float(np.sin(step)))
            master.step(0.01, clip=1.0)

    for dtype in (torch.float32, torch.bfloat16):
        whole = nn.Parameter(torch.ones(3, dtype=dtype))
        run(whole, Master([whole], weight_decay=0.1), range(8))
        first = nn.Parameter(torch.ones(3, dtype=dtype))
        before = Master([first], weight_decay=0.1)
        run(first, before, range(5))
        second = nn.Parameter(torch.zeros(3, dtype=dtype))
        after = Master([second], weight_decay=0.1)
        after.restore(before.state())
        run(second, after, range(5, 8))
        assert torch.equal(whole, second), dtype
