"""A linear layer and its LoRA weights as one operation.

PEFT's layer makes, beside what the matrix products need, three tensors as wide as its output: the adapter's product,
that times its scale, and the sum. Here the adapter's product is added to the output where it lies, and in the backward
pass to the gradient of the input, with the scale as a factor of the product.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn


def as_one_operation(model: nn.Module) -> None:
    """Gives every plain LoRA layer of a model this forward pass; layers stay PEFT's in all else."""
    for layer in model.modules():
        if type(layer) is Linear:
            layer.__class__ = LoraLinear


class LoraLinear(Linear):
    """PEFT's LoRA layer with a forward pass of its own where one adapter is at work, without dropout or variants."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x W^T + b + scale (x A^T) B^T. Shapes: x (..., inputs), result (..., outputs)."""
        names = [name for name in self.active_adapters if name in self.lora_A]
        if args or kwargs or self.disable_adapters or self.merged or len(names) != 1 or not self._plain(names[0]):
            return super().forward(x, *args, **kwargs)
        name = names[0]
        return _LoraProduct.apply(  # type: ignore[no-any-return, no-untyped-call]
            x,
            self.base_layer.weight,
            self.base_layer.bias,
            self.lora_A[name].weight,
            self.lora_B[name].weight,
            self.scaling[name],
        )

    def _plain(self, name: str) -> bool:
        """Whether the layer is W and b, which are frozen, and A and B, all at hand and of one precision."""
        base, a, b = self.base_layer, self.lora_A[name], self.lora_B[name]
        return (
            type(base) is nn.Linear
            and name not in self.lora_variant
            and not (self.training and isinstance(self.lora_dropout[name], nn.Dropout))
            and a.bias is None
            and b.bias is None
            and not base.weight.requires_grad
            and base.weight.dtype == a.weight.dtype == b.weight.dtype
            # DeepSpeed brings a layer's dealt out weights together when that layer itself is called.
            and not hasattr(base.weight, "ds_id")
        )


class _LoraProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        rows_NI = x.reshape(-1, x.shape[-1])
        inner_NR = rows_NI @ a.T
        out_NO = rows_NI @ weight.T if bias is None else torch.addmm(bias, rows_NI, weight.T)
        out_NO.addmm_(inner_NR, b.T, alpha=scale)
        ctx.save_for_backward(rows_NI, inner_NR, weight, a, b)
        ctx.scale = scale
        return out_NO.view(*x.shape[:-1], out_NO.shape[-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows_NI, inner_NR, weight, a, b = ctx.saved_tensors
        gradient_NO = gradient.reshape(-1, gradient.shape[-1])
        inner_gradient_NR = (gradient_NO @ b).mul_(ctx.scale)
        b_gradient_OR = (gradient_NO.T @ inner_NR).mul_(ctx.scale) if ctx.needs_input_grad[4] else None
        a_gradient_RI = inner_gradient_NR.T @ rows_NI if ctx.needs_input_grad[3] else None
        if not ctx.needs_input_grad[0]:
            return None, None, None, a_gradient_RI, b_gradient_OR, None
        x_gradient_NI = (gradient_NO @ weight).addmm_(inner_gradient_NR, a)
        x_gradient = x_gradient_NI.view(*gradient.shape[:-1], x_gradient_NI.shape[-1])
        return x_gradient, None, None, a_gradient_RI, b_gradient_OR, None
