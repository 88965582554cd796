"""Gradients of a batch at the memory of a part of it (GradCache, Gao et al. 2021), equal to those of the whole.

The loss needs all vectors at once; the graph from tokens to vectors does not. First all vectors are computed, with a
graph as far as memory goes, then the loss gives each vector's gradient. It is sent through the graphs that were kept;
every other part is computed again with a graph first. Where all graphs fit, a third of the work is saved.
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
        graph_tokens: padded tokens whose graph fits in memory; what goes beyond is computed twice.
    """
    groups = length_sorted(map(len, rows), token_budget=token_budget, max_rows=len(rows))

    def vectors_of(group: Sequence[int]) -> Tensor:
        ids_BL, mask_BL = pad_batch([rows[row] for row in group], pad, device)
        return pool(hidden_states(backbone, ids_BL, mask_BL), mask_BL, pooling)

    parts: list[Tensor] = []
    states: dict[int, RandomState] = {}
    room = graph_tokens
    for number, group in enumerate(groups):
        padded = len(group) * max(len(rows[row]) for row in group)
        keeps_graph = padded <= room
        if keeps_graph:
            room -= padded
        else:
            states[number] = RandomState(device)
        with torch.set_grad_enabled(keeps_graph):
            parts.append(vectors_of(group))
    leaves = [part.detach().requires_grad_() for part in parts]
    place = torch.argsort(torch.tensor([row for group in groups for row in group]))
    loss = loss_of(torch.cat(leaves)[place])
    loss.backward()  # type: ignore[no-untyped-call]
    for number, leaf in enumerate(leaves):
        if number not in states:
            parts[number].backward(leaf.grad)  # type: ignore[no-untyped-call]
    for number, state in states.items():
        # The second pass drops the same units as the first, else the gradient belongs to other vectors.
        state.restore()
        vectors_of(groups[number]).backward(leaves[number].grad)  # type: ignore[no-untyped-call]
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
