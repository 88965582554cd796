"""The engine of a training: where its weights lie, and what one process adds to the step of all.

The loss is one function of all vectors of the batch, and every process computes the whole of it: it needs the others'
vectors, but not their graphs. Each sends the gradient of its own vectors back through its own graph, so that the sum of
the processes' gradients is that of one process with the whole batch. Nothing is averaged, and shares may be uneven.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from embedloom.model.recompute import computes_layers_again
from embedloom.train.optimizer import Master

if TYPE_CHECKING:
    from torch import Tensor, nn

    from embedloom.train.processes import Processes


class Ranks:
    """Who computes which vectors. This is one process alone; the same calls serve several."""

    rank = 0
    count = 1
    any_order = True
    """Whether a backward pass may follow other forward passes than its own."""
    shares_beginnings = True
    """Whether what rows begin with may be a forward pass of its own; not where all processes must do as many."""

    def gather(self, own_ND: Tensor, counts: Sequence[int]) -> Tensor:
        """The vectors of all processes, first those of rank 0.

        Args:
            own_ND: this process' vectors, without a graph.
            counts: how many each process has.
        """
        return own_ND

    def agreed(self, value: float) -> float:
        """The value of rank 0, in every process."""
        return value

    def least(self, value: int) -> int:
        """The lowest value of all processes, in every process."""
        return value

    def backward(self, vectors_ND: Tensor, gradient_ND: Tensor, *, last: bool) -> None:
        """Adds to the gradients of the weights; `last` is the last time in a step."""
        vectors_ND.backward(gradient_ND)  # type: ignore[no-untyped-call]


ALONE = Ranks()


class Engine(Ranks):
    """One process that has all weights: nothing to be told, nothing to wait for."""

    def __init__(self, model: nn.Module, *, weight_decay: float) -> None:
        self.model = model
        self.master = Master(model.parameters(), weight_decay=weight_decay)

    @property
    def device(self) -> torch.device:
        """Where tokens go."""
        return next(self.model.parameters()).device

    def synchronise(self) -> None:
        """Makes the gradients those of all processes, where the last backward pass has not."""

    def step(self, rate: float, clip: float) -> float:
        """One update of the weights; returns the norm of the gradient before clipping."""
        self.synchronise()
        return self.master.step(rate, clip)

    def state(self, *, keep: bool = True) -> dict[str, Any]:
        """Float32 weights and optimizer state, whole; every process calls it, `keep` says who wants the tensors."""
        return self.master.state(keep=keep)

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from a state, whichever engine and number of processes made it."""
        self.master.restore(state)


class OneOfSeveral(Engine):
    """One process of several, whatever it has of the weights."""

    def __init__(self, model: nn.Module, processes: Processes, *, weight_decay: float) -> None:
        super().__init__(model, weight_decay=weight_decay)
        self.rank, self.count = processes.rank, processes.count
        self._device = processes.device

    @property
    def device(self) -> torch.device:
        """Where tokens go; weights may wait in the CPU's memory."""
        return self._device

    def gather(self, own_ND: Tensor, counts: Sequence[int]) -> Tensor:
        """All processes' vectors; a process with fewer sends zeros behind its own."""
        return gathered(own_ND, counts)

    def agreed(self, value: float) -> float:
        """The value of rank 0, in every process."""
        told = torch.tensor([value], dtype=torch.float64)
        torch.distributed.broadcast(told, src=0)
        return float(told)

    def least(self, value: int) -> int:
        """The lowest value of all processes, in every process."""
        told = torch.tensor([value])
        torch.distributed.all_reduce(told, op=torch.distributed.ReduceOp.MIN)
        return int(told)


class Replicated(OneOfSeveral):
    """Every process has all weights (DDP), and adds its gradients to the others' once a step."""

    def __init__(self, model: nn.Module, processes: Processes, *, weight_decay: float) -> None:
        super().__init__(model, processes, weight_decay=weight_decay)
        for parameter in self.master.live:
            torch.distributed.broadcast(parameter.data, src=0)

    def synchronise(self) -> None:
        """Sums the gradients of all processes in float32, in one operation."""
        live = self.master.live
        flat = torch.cat([p.grad.flatten().float() if p.grad is not None else p.new_zeros(p.numel()).float()
                          for p in live])  # fmt: skip
        torch.distributed.all_reduce(flat)
        for parameter, summed in zip(live, torch.split(flat, [p.numel() for p in live]), strict=True):
            parameter.grad = summed.view_as(parameter).to(parameter.dtype)


def gathered(own_ND: Tensor, counts: Sequence[int]) -> Tensor:
    """Vectors of all processes, shape (sum of counts, dimension), first those of rank 0."""
    most = max(counts)
    filled = own_ND.new_zeros((most, own_ND.shape[1]))
    filled[: len(own_ND)] = own_ND
    parts = [torch.empty_like(filled) for _ in counts]
    torch.distributed.all_gather(parts, filled)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def engine_for(model: nn.Module, processes: Processes | None, *, weight_decay: float) -> Engine:
    """The engine for a model that lies on this process' device, or on the CPU where its weights will be sharded."""
    engine = _engine_for(model, processes, weight_decay)
    # A layer that is computed again would add to the keys and values of the beginning a second time.
    engine.shares_beginnings = engine.shares_beginnings and not computes_layers_again(model)
    return engine


def _engine_for(model: nn.Module, processes: Processes | None, weight_decay: float) -> Engine:
    if processes is None:
        return Engine(model, weight_decay=weight_decay)
    if processes.weights == "sharded":
        from embedloom.train.sharded import Sharded

        return Sharded(model, processes, weight_decay=weight_decay)
    if processes.weights == "zero":
        from embedloom.train.zero import Zero

        return Zero(model, processes, weight_decay=weight_decay)
    return Replicated(model, processes, weight_decay=weight_decay)
