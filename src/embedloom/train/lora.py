"""LoRA on every linear layer, and its weights merged back (by PEFT)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def add_lora(model: PreTrainedModel, *, rank: int, alpha: float, dropout: float, seed: int) -> PeftModel:
    """Wraps a model so that only its LoRA weights train. The first weights are a function of `seed`.

    The adapters have the base's precision: float32 adapters beside a bfloat16 base cost more in casts than in
    arithmetic. `Master` keeps what bfloat16 would round away.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear", bias="none")  # type: ignore[arg-type]
    with warnings.catch_warnings():
        # PEFT asks transformers by a name that transformers has deprecated; no user can mend that.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        wrapped = get_peft_model(model, config, autocast_adapter_dtype=False)
    dtype = next(model.parameters()).dtype
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    return wrapped


def merged(wrapped: PeftModel, dtype: torch.dtype) -> PreTrainedModel:
    """The base model with the LoRA weights added, in `dtype`. The sum is made in float32."""
    whole: PreTrainedModel = wrapped.float().merge_and_unload()
    return whole.to(dtype)  # type: ignore[no-any-return, arg-type]


def averaged(mean: PreTrainedModel, model: PreTrainedModel, count: int) -> PreTrainedModel:
    """The mean of `count` models' weights: `mean` is that of those before, and is changed.

    Models tuned from one base on the same data average well (model soups, Wortsman et al. 2022).
    """
    with torch.no_grad():
        for kept, new in zip(mean.parameters(), model.parameters(), strict=True):
            kept.lerp_(new.to(kept.dtype), 1 / count)
    return mean
