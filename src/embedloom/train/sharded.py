"""Weights, gradients and optimizer state sharded over the processes (FSDP2, `torch.distributed.fsdp.fully_shard`).

Accelerate's configuration says whether, and how: `fsdp_reshard_after_forward`, `fsdp_offload_params`,
`fsdp_transformer_layer_cls_to_wrap`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from embedloom.train.engine import OneOfSeveral

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.distributed.fsdp import FSDPModule

    from embedloom.train.processes import Processes


class Sharded(OneOfSeveral):
    """Every process has a part of each weight; a layer is put together when it computes.

    The passes of a step leave their gradients where they are; the last one adds them to the other processes'.
    """

    shares_beginnings = False

    def __init__(self, model: nn.Module, processes: Processes, *, weight_decay: float) -> None:
        super().__init__(shard(model, processes.device, processes.count), processes, weight_decay=weight_decay)

    def backward(self, vectors_ND: Tensor, gradient_ND: Tensor, *, last: bool) -> None:
        """As with one process; only the `last` one of a step exchanges gradients."""
        module = cast("FSDPModule", self.model)
        module.set_requires_gradient_sync(last)
        module.set_is_last_backward(last)
        # FSDP averages over the processes; ours is a sum.
        vectors_ND.backward(gradient_ND * self.count)  # type: ignore[no-untyped-call]


def shard(model: nn.Module, device: torch.device, count: int) -> nn.Module:
    """Shards a model in place, each decoder layer by itself, over `count` processes."""
    from accelerate import FullyShardedDataParallelPlugin
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    plugin = FullyShardedDataParallelPlugin(fsdp_version=2)
    settings = {
        "mesh": init_device_mesh(device.type, (count,)),
        "reshard_after_forward": plugin.reshard_after_forward,
        "offload_policy": plugin.cpu_offload,
        "mp_policy": MixedPrecisionPolicy(reduce_dtype=torch.float32),
    }
    whole: Any = model
    base = whole.get_base_model() if hasattr(model, "get_base_model") else model
    layers = set(plugin.transformer_cls_names_to_wrap or getattr(base, "_no_split_modules", None) or ())
    for module in list(model.modules()):
        if type(module).__name__ in layers:
            fully_shard(module, **settings)
    fully_shard(model, **settings)
    return model
