"""A layer with one output for every word of a vocabulary, computed in pieces on a CPU.

A library for matrix products packs the whole weight anew for each product. For the few rows of a decoding step that is
more than the product itself; a piece that stays in the cache is read from memory once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

PIECE = 2048
"""Outputs computed together: their weights, a few MB, fit into a core's cache."""
FEW = 128
"""With more rows than that, packing is little beside the product."""


class WideLinear(nn.Linear):
    """A linear layer whose outputs are computed in pieces where that is faster.

    Args:
        layer: the layer whose weights it computes with, and shares.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Linear`: shape (..., inputs) to (..., outputs)."""
        rows = input.reshape(-1, self.in_features)
        if rows.device.type != "cpu" or len(rows) > FEW or torch.is_grad_enabled():
            return super().forward(input)
        out = rows.new_empty((len(rows), self.out_features))
        for start in range(0, self.out_features, PIECE):
            end = min(start + PIECE, self.out_features)
            bias = None if self.bias is None else self.bias[start:end]
            out[:, start:end] = functional.linear(rows, self.weight[start:end], bias)
        return out.reshape(*input.shape[:-1], self.out_features)


def compute_head_in_pieces(model: nn.Module) -> None:
    """Replaces a causal language model's output layer by one that computes in pieces, with the same weights."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    if type(head) is nn.Linear and head.out_features > 2 * PIECE:
        model.set_output_embeddings(WideLinear(head))  # type: ignore[operator]
