"""LoRA weights by themselves, in PEFT's format, beside the merged model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor

ADAPTER = "adapter"
"""Folder below a checkpoint's: at its top, readers would take the checkpoint for an adapter."""
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Adapter:
    """Settings as PEFT has them, and tensors by PEFT's names, float32, in the CPU's memory."""

    config: Any
    tensors: dict[str, Tensor]


def adapter_of(model: PeftModel) -> Adapter:
    """A copy of a model's LoRA weights, as they are now."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model)
    tensors = {name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in state.items()}
    return Adapter(copy.deepcopy(model.peft_config["default"]), tensors)


def averaged_adapter(adapters: Sequence[Adapter]) -> Adapter:
    """One adapter whose update is the mean of the others' updates; its rank is the sum of theirs.

    The mean of B A over n adapters is the product of all B side by side and all A below each other, over n. PEFT
    divides by the rank, which is n times as large, so that `lora_alpha` stays.
    """
    if len(adapters) == 1:
        return adapters[0]
    config = copy.deepcopy(adapters[0].config)
    config.r = sum(adapter.config.r for adapter in adapters)
    tensors = {
        name: torch.cat([adapter.tensors[name] for adapter in adapters], dim=0 if ".lora_A." in name else 1)
        for name in adapters[0].tensors
    }
    return Adapter(config, tensors)


def save_adapter(folder: Path, adapter: Adapter, base: str) -> None:
    """Writes an adapter that `peft.PeftModel.from_pretrained(AutoModel of the base, folder)` opens.

    Args:
        folder: is made.
        adapter: the weights.
        base: the base model's name, for readers that fetch it themselves.
    """
    from safetensors.torch import save_file

    folder.mkdir()
    config = copy.deepcopy(adapter.config)
    config.base_model_name_or_path = base.removeprefix("hub:").removeprefix("path:")
    config.inference_mode = True
    if isinstance(config.target_modules, set):
        # A set has no order, and equal trainings are to write equal files.
        config.target_modules = sorted(config.target_modules)
    config.save_pretrained(str(folder))
    tensors = {name: tensor.contiguous() for name, tensor in adapter.tensors.items()}
    save_file(tensors, str(folder / WEIGHTS), metadata={"format": "pt"})
