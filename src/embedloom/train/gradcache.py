"""Gradients of a batch at the memory of a part of it (GradCache, Gao et al. 2021), equal to those of the whole.

The loss needs all vectors at once; the graph from tokens to vectors does not. First all vectors are computed without a
graph, then the loss gives each vector's gradient, then each part is computed again with a graph and that gradient is
sent through it. Where the whole batch fits, one pass with a graph does the same with a third less work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from embedloom.model.backbone import hidden_states, pad_batch
from embedloom.model.inputs import length_sorted
from embedloom.model.pooling import pool

if TYPE_CHECKING:
    from torch import Tensor, nn


def loss_and_gradients(
    backbone: nn.Module,
    rows: Sequence[Sequence[int]],
    loss_of: Callable[[Tensor], Tensor],
    *,
    pooling: str,
    pad: int,
    device: torch.device,
    token_budget: int,
    graph_tokens: int,
) -> float:
    """Adds the gradients of `loss_of(vectors of all rows)` to the backbone's parameters and returns the loss.

    Args:
        backbone: the transformer without head.
        rows: token ids of every text of the batch.
        loss_of: from unit vectors, shape (rows, dimension), in the order of `rows`, to a scalar.
        pooling: how a vector is read.
        pad: id that fills up a row.
        device: where the tokens go.
        token_budget: padded tokens of one forward pass.
        graph_tokens: padded tokens whose graph fits in memory; a larger batch goes through the cache.
    """
    groups = length_sorted(map(len, rows), token_budget=token_budget, max_rows=len(rows))

    def vectors_of(group: Sequence[int]) -> Tensor:
        ids_BL, mask_BL = pad_batch([rows[row] for row in group], pad, device)
        return pool(hidden_states(backbone, ids_BL, mask_BL), mask_BL, pooling)

    place = torch.argsort(torch.tensor([row for group in groups for row in group]))
    padded = sum(len(group) * max(len(rows[row]) for row in group) for group in groups)
    if padded <= graph_tokens:
        loss = loss_of(torch.cat([vectors_of(group) for group in groups])[place])
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    states: list[RandomState] = []
    parts: list[Tensor] = []
    with torch.no_grad():
        for group in groups:
            states.append(RandomState(device))
            parts.append(vectors_of(group))
    leaves = [part.requires_grad_() for part in parts]
    loss = loss_of(torch.cat(leaves)[place])
    loss.backward()  # type: ignore[no-untyped-call]
    for group, state, leaf in zip(groups, states, leaves, strict=True):
        # The second pass drops the same units as the first, else the gradient belongs to other vectors.
        state.restore()
        again = vectors_of(group)
        assert leaf.grad is not None
        again.backward(leaf.grad)  # type: ignore[no-untyped-call]
    return float(loss.detach())


class RandomState:
    """The state of the random generators of CPU and device at a moment."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore(self) -> None:
        """Sets the generators back to the moment."""
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)
