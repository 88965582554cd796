"""LoRA on linear layers, its weights merged back (by PEFT), and models averaged."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from embedloom.errors import ModelError

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def add_lora(
    model: PreTrainedModel,
    *,
    rank: int,
    alpha: float,
    dropout: float,
    seed: int,
    targets: str | Sequence[str] = "all-linear",
) -> PeftModel:
    """Wraps a model so that only its LoRA weights train. The first weights are a function of `seed`.

    The adapters have the base's precision: float32 adapters beside a bfloat16 base cost more in casts than in
    arithmetic. `Master` keeps what bfloat16 would round away.

    Raises:
        ModelError: the model has no layer of a name in `targets`.
    """
    from peft import LoraConfig, get_peft_model

    from embedloom.train.lora_linear import as_one_operation

    torch.manual_seed(seed)
    layers = targets if isinstance(targets, str) else list(targets)
    # An encoder's pooler reads the last layer, and nothing of it reaches the vectors.
    unused = r"pooler\..*" if getattr(model, "pooler", None) is not None else None
    told: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "lora_dropout": dropout, "bias": "none"}
    config = LoraConfig(target_modules=layers, exclude_modules=unused, **told)
    with warnings.catch_warnings():
        # PEFT asks transformers by a name that transformers has deprecated; no user can mend that.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        try:
            wrapped = get_peft_model(model, config, autocast_adapter_dtype=False)
        except ValueError:
            last = sorted({name.rsplit(".", 1)[-1] for name, part in model.named_modules() if _is_linear(part)})
            raise ModelError(f"no layer is named {targets!r}; linear layers are {', '.join(last)}") from None
    dtype = next(model.parameters()).dtype
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    as_one_operation(wrapped)
    return wrapped


def train_all(model: PreTrainedModel) -> PreTrainedModel:
    """The model with all weights to be trained that reach its vectors: an encoder's pooler does not."""
    model.requires_grad_(True)
    if getattr(model, "pooler", None) is not None:
        model.pooler.requires_grad_(False)
    return model


def merged(trained: PeftModel | PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The base model with the LoRA weights added, in `dtype`. The sum is made in float32.

    A model that was trained whole has nothing to add.
    """
    from peft import PeftModel

    whole: Any = trained.float()
    if isinstance(trained, PeftModel):
        whole = whole.merge_and_unload()
    return whole.to(dtype)  # type: ignore[no-any-return]


def averaged(mean: PreTrainedModel, model: PreTrainedModel, count: int) -> PreTrainedModel:
    """The mean of `count` models' weights: `mean` is that of those before, and is changed.

    Models tuned from one base on the same data average well (model soups, Wortsman et al. 2022).
    """
    with torch.no_grad():
        for kept, new in zip(mean.parameters(), model.parameters(), strict=True):
            kept.lerp_(new.to(kept.dtype), 1 / count)
    return mean


def _is_linear(part: object) -> bool:
    return isinstance(part, torch.nn.Linear)
