"""From the last layer's states to one unit vector a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

POOLINGS = ("last", "mean", "weighted-mean", "cls")


def pool(hidden_BLD: Tensor, mask_BL: Tensor, pooling: str = "last") -> Tensor:
    """Unit vectors in float32 from states and attention mask, with padding on either side.

    Args:
        hidden_BLD: last layer's states, shape (batch, length, dimension).
        mask_BL: 1 where there is a token, 0 where there is padding.
        pooling: `last` reads the last token of the mask, which is EOS; `cls` the first, which says nothing in a
            causal model; `mean` averages over the tokens; `weighted-mean` weighs the token at position i (from 1) by i
            (the paper's ablations, section 5).

    Returns:
        Shape (batch, dimension), each row of length 1.
    """
    mask_BL = mask_BL.to(hidden_BLD.device)
    if pooling == "last":
        positions = torch.arange(mask_BL.shape[1], device=mask_BL.device)
        last_B = (mask_BL * (positions + 1)).argmax(dim=1)
        pooled_BD = hidden_BLD[torch.arange(hidden_BLD.shape[0], device=hidden_BLD.device), last_B].float()
    elif pooling == "cls":
        first_B = mask_BL.argmax(dim=1)
        pooled_BD = hidden_BLD[torch.arange(hidden_BLD.shape[0], device=hidden_BLD.device), first_B].float()
    elif pooling in ("mean", "weighted-mean"):
        weight_BL = mask_BL.float()
        if pooling == "weighted-mean":
            weight_BL = weight_BL * weight_BL.cumsum(dim=1)
        pooled_BD = torch.einsum("bld,bl->bd", hidden_BLD.float(), weight_BL) / weight_BL.sum(
            dim=1, keepdim=True
        ).clamp(min=1)
    else:
        raise ValueError(f"unknown pooling {pooling!r}; expected one of {', '.join(POOLINGS)}")
    return functional.normalize(pooled_BD, dim=-1)
