"""AdamW on float32 masters of the trained weights, with warm-up, linear decay and clipping (paper section 4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


def learning_rate(step: int, *, peak: float, warmup: int, steps: int) -> float:
    """The rate of a step, counted from 0: up linearly over `warmup` steps, then down linearly to 0 behind the last."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * (steps - step) / max(1, steps - warmup)


class Master:
    """Optimizes float32 copies of weights that may be bfloat16: small steps add up instead of being rounded away."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, weight_decay: float) -> None:
        self.live = [parameter for parameter in parameters if parameter.requires_grad]
        self.copies = [
            parameter if parameter.dtype == torch.float32 else nn.Parameter(parameter.detach().float())
            for parameter in self.live
        ]
        self.optimizer = torch.optim.AdamW(self.copies, lr=0.0, weight_decay=weight_decay)

    def step(self, rate: float, clip: float) -> float:
        """One update; gradients are clipped to norm `clip`, then cleared. Returns their norm before clipping."""
        for live, copy in zip(self.live, self.copies, strict=True):
            if copy is not live:
                copy.grad = None if live.grad is None else live.grad.float()
        norm = float(whole(nn.utils.clip_grad_norm_(self.copies, clip)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        with torch.no_grad():
            for live, copy in zip(self.live, self.copies, strict=True):
                if copy is not live:
                    live.copy_(copy)
                live.grad = None
                copy.grad = None
        return norm

    def state(self, *, keep: bool = True) -> dict[str, Any]:
        """Masters and optimizer state, as tensors and plain values.

        Sharded ones are put together, for which every process must call this; one that doesn't `keep` them gets none.
        """
        stored = self.optimizer.state_dict()
        state = {number: {key: whole(value, keep=keep) for key, value in entry.items()}
                 for number, entry in stored["state"].items()}  # fmt: skip
        copies = [whole(copy.detach(), keep=keep) for copy in self.copies]
        return {"copies": copies, "optimizer": {**stored, "state": state}}

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from `state()`, whether the weights are sharded as they were then or not."""
        with torch.no_grad():
            for live, copy, stored in zip(self.live, self.copies, state["copies"], strict=True):
                copy.copy_(as_sharded(stored, copy))
                if copy is not live:
                    live.copy_(copy)
        entries = {number: {key: as_sharded(value, self.copies[number]) for key, value in entry.items()}
                   for number, entry in state["optimizer"]["state"].items()}  # fmt: skip
        self.optimizer.load_state_dict({**state["optimizer"], "state": entries})


def whole(value: Any, *, keep: bool = True) -> Any:
    """A sharded tensor put together, in the CPU's memory unless it is one number; anything else as it is."""
    if not isinstance(value, torch.Tensor) or not hasattr(value, "full_tensor"):
        return value
    full = value.full_tensor()
    return None if not keep else full if full.dim() == 0 else full.cpu()


def as_sharded(value: Any, pattern: torch.Tensor) -> Any:
    """A whole tensor of the shape of `pattern`, sharded as that is; anything else as it is."""
    if not hasattr(pattern, "device_mesh") or not isinstance(value, torch.Tensor) or value.shape != pattern.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    # Every process has read the same value: none needs to be sent.
    sharded: Any = pattern
    mesh = sharded.device_mesh
    return distribute_tensor(value.to(mesh.device_type), mesh, sharded.placements, src_data_rank=None)
