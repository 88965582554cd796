"""Activation checkpointing: a layer keeps its input alone, and is computed again on the way back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from embedloom.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

_MARK = "computed_again"


def compute_layers_again(model: nn.Module) -> None:
    """Lets every decoder layer of a model, with adapters or without, be computed again on the way back.

    Gradients stay the same, dropout included. Only training with a graph is affected.

    Raises:
        ModelError: the model doesn't say which of its modules are its layers.
    """
    for layer in decoder_layers(model, "train.checkpoint_layers to false"):
        # What is wrapped is the layer's own computation: sharded weights are put together around it, both times.
        layer.forward = partial(_forward, layer, layer.forward)
        setattr(layer, _MARK, True)


def decoder_layers(model: nn.Module, instead: str) -> list[nn.Module]:
    """The layers of a model, with adapters or without, from the first to the last.

    Args:
        model: the transformer.
        instead: the setting that does without them, for the error.

    Raises:
        ModelError: the model doesn't say which of its modules are its layers.
    """
    whole: Any = model
    base = whole.get_base_model() if hasattr(model, "get_base_model") else model
    kinds = set(getattr(base, "_no_split_modules", None) or ())
    layers = [module for module in model.modules() if type(module).__name__ in kinds]
    if not layers:
        raise ModelError(f"{type(base).__name__} doesn't name its layers; set {instead}")
    return layers


def computes_layers_again(model: nn.Module) -> bool:
    """Whether `compute_layers_again` was called for it."""
    return any(getattr(module, _MARK, False) for module in model.modules())


def _forward(layer: nn.Module, computed: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    if layer.training and torch.is_grad_enabled():
        return checkpoint(partial(computed, **named), *inputs, use_reentrant=False)
    return computed(*inputs, **named)
