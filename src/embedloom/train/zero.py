"""Weights, gradients and optimizer state dealt out by DeepSpeed (ZeRO-3), as Accelerate's configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from embedloom.errors import MissingExtraError, RunError
from embedloom.train.engine import OneOfSeveral

if TYPE_CHECKING:
    from torch import Tensor, nn

    from embedloom.train.processes import Processes

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Zero(OneOfSeveral):
    """Every process has a part of each weight. DeepSpeed adds gradients up in every pass, since it keeps only parts."""

    # DeepSpeed notices with a forward pass that a backward pass has ended; what comes between overwrites its gradients.
    any_order = False
    shares_beginnings = False

    def __init__(self, model: nn.Module, processes: Processes, *, weight_decay: float) -> None:
        try:
            import deepspeed
        except ModuleNotFoundError:
            raise MissingExtraError("deepspeed", "deepspeed") from None
        # No `Master`: DeepSpeed has the weights and the optimizer.
        self.rank, self.count = processes.rank, processes.count
        self._device = processes.device
        self._live = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._shapes = [parameter.shape for parameter in self._live]
        optimizer = torch.optim.AdamW(self._live, lr=0.0, weight_decay=weight_decay)
        self._groups = optimizer.state_dict()["param_groups"]
        dtype = self._live[0].dtype
        engine, self._optimizer, _, _ = deepspeed.initialize(
            model=model.to(processes.device),
            optimizer=optimizer,
            config={**_configuration(), "bf16": {"enabled": dtype == torch.bfloat16}},
        )
        self.model = engine
        self._engine: Any = engine
        # DeepSpeed makes the optimizer's state by a step of its own, which must not count.
        self._steps = 0
        self._count_steps(0)

    def backward(self, vectors_ND: Tensor, gradient_ND: Tensor, *, last: bool) -> None:
        """Adds the pass to the gradients of the step; after the `last` one the weights may change."""
        self._engine.set_gradient_accumulation_boundary(last)
        # DeepSpeed wants a scalar, and averages over the processes; ours is a sum.
        self._engine.backward((vectors_ND * gradient_ND).sum() * self.count)

    def step(self, rate: float, clip: float) -> float:
        """One update of the weights; returns the norm of the gradient before clipping."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.clip_grad = clip
        self._engine.step()
        self._steps += 1
        return float(self._engine.get_global_grad_norm())

    def state(self, *, keep: bool = True) -> dict[str, Any]:
        """What one process alone would have; every process calls it, `keep` says who wants the tensors."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        copies: list[Any] = []
        entries: dict[int, dict[str, Any]] = {}
        for number, parameter in enumerate(self._live):
            weight = safe_get_full_fp32_param(parameter)
            moments = {name: safe_get_full_optimizer_state(parameter, name) for name in _MOMENTS}
            if keep:
                shape = self._shapes[number]
                copies.append(weight.float().cpu().view(shape))
                entries[number] = {name: value.float().cpu().view(shape) for name, value in moments.items()}
                entries[number]["step"] = torch.tensor(float(self._steps))
        return {"copies": copies, "optimizer": {"state": entries, "param_groups": self._groups}}

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from a state, whichever engine and number of processes made it."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        for number, (parameter, stored) in enumerate(zip(self._live, state["copies"], strict=True)):
            safe_set_full_fp32_param(parameter, stored.to(self._device))
            entry = state["optimizer"]["state"].get(number, {})
            for name in _MOMENTS:
                if name in entry:
                    safe_set_full_optimizer_state(parameter, entry[name].to(self._device), name)
            self._steps = int(entry.get("step", 0))
        self._count_steps(self._steps)

    def _count_steps(self, steps: int) -> None:
        for entry in self._optimizer.optimizer.state.values():
            if "step" in entry:
                entry["step"] = torch.full_like(torch.as_tensor(entry["step"], dtype=torch.float32), steps)


def _decided(told: Mapping[str, Any]) -> dict[str, Any]:
    """Without what Accelerate would fill in from a data loader and scheduler, of which there are none."""
    kept = {key: _decided(value) if isinstance(value, Mapping) else value for key, value in told.items()}
    return {key: value for key, value in kept.items() if value != "auto"}


def _configuration() -> dict[str, Any]:
    """DeepSpeed's configuration from what `accelerate launch` put into the environment."""
    from accelerate import DeepSpeedPlugin

    told: dict[str, Any] = dict(DeepSpeedPlugin().deepspeed_config)
    stage = told.get("zero_optimization", {}).get("stage")
    if stage != 3:
        raise RunError(
            f"zero_stage is {stage} in accelerate's configuration, expected 3; see recipes/accelerate/zero3.yaml"
        )
    # One pass has as many rows as fit; the loop clips, and says when a step is done.
    for key in ("fp16", "bf16", "gradient_clipping", "train_batch_size"):
        told.pop(key, None)
    return {
        **_decided(told),
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "zero_allow_untested_optimizer": True,
    }
