"""Gradients of a batch at the memory of a part of it (GradCache, Gao et al. 2021), equal to those of the whole.

The loss needs all vectors at once; the graph from tokens to vectors does not. First all vectors are computed, with a
graph as far as memory goes, then the loss gives each vector's gradient. It is sent through the graphs that were kept;
every other part is computed again with a graph first. Where all graphs fit, a third of the work is saved.

Several processes share each part, row by row: all have as many passes as the others, of about the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch

from embedloom.model.heap import give_back_freed_memory, giving_back_freed_memory
from embedloom.model.passes import computed_tokens, plan_passes, row_vectors
from embedloom.records import content_id
from embedloom.train.engine import ALONE, Ranks

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
    ranks: Ranks = ALONE,
) -> float:
    """Adds the gradients of `loss_of(vectors of all rows)` to the backbone's parameters and returns the loss.

    Dropout of a pass is a function of the generator's seed, the pass and the process.

    Args:
        backbone: the transformer without head.
        rows: token ids of every text of the batch, the same in every process.
        loss_of: from unit vectors, shape (rows, dimension), in the order of `rows`, to a scalar.
        pooling: how a vector is read.
        pad: id that fills up a row.
        device: where the tokens go.
        token_budget: padded tokens of one forward pass.
        graph_tokens: computed tokens whose graph fits in memory; what goes beyond is computed twice.
        ranks: the processes that share the rows. Each adds what its own rows give to the gradients: their sum is the
            gradient.
    """
    seed = torch.initial_seed()
    share = ranks.shares_beginnings
    groups = plan_passes(rows, token_budget=token_budget * ranks.count, max_rows=len(rows), share=share)
    shares = [[group[rank :: ranks.count] for group in groups] for rank in range(ranks.count)]
    own = shares[ranks.rank]

    def vectors_of(number: int) -> Tensor:
        # The second pass drops the same units as the first, else the gradient belongs to other vectors.
        torch.manual_seed(int(content_id("pass", seed, number, ranks.rank), 16) % 2**63)
        # Where the weights are sharded every process takes part in every pass: one without a row computes one for
        # nothing.
        some = [rows[row] for row in own[number] or groups[number][:1]]
        vectors_ND = row_vectors(backbone, some, pooling=pooling, pad=pad, device=device, share=share)
        return vectors_ND[: len(own[number])]

    kept: list[int] = []
    room = graph_tokens
    for number, group in enumerate(groups):
        computed = computed_tokens(backbone, [rows[row] for row in group[:: ranks.count]], share=share)
        if computed <= room and (ranks.any_order or number == len(groups) - 1):
            kept.append(number)
            room -= computed
    # New pages take time, a twentieth of such a step: only a batch whose graphs don't fit has to save memory.
    saves = device.type == "cpu" and len(kept) < len(groups)
    sparing = giving_back_freed_memory if saves else nullcontext
    again = sorted(set(range(len(groups))) - set(kept))
    parts: dict[int, Tensor] = {}
    # What is kept comes last, so that the other passes have the memory to themselves.
    for number in [*again, *kept]:
        with torch.set_grad_enabled(number in kept), sparing():
            parts[number] = vectors_of(number)
    counts = [sum(map(len, share)) for share in shares]
    ordered = [parts[number].detach() for number in range(len(groups))]
    vectors_ND = ranks.gather(torch.cat(ordered), counts).requires_grad_()
    place = torch.argsort(torch.tensor([row for share in shares for group in share for row in group]))
    loss = loss_of(vectors_ND[place])
    loss.backward()  # type: ignore[no-untyped-call]
    assert vectors_ND.grad is not None
    gradients = torch.split(torch.split(vectors_ND.grad, counts)[ranks.rank], [len(share) for share in own])
    order = [*kept, *again]
    for number in order:
        with sparing():
            part = parts[number] if number in kept else vectors_of(number)
        ranks.backward(part, gradients[number], last=number == order[-1])
        if saves:
            give_back_freed_memory()
    return float(loss.detach())
