"""Causal attention for long inputs: no matrix of length x length is made, whatever the layer's window.

Layers with a sliding window are computed in blocks of queries, each against the keys that its window reaches; the
others by torch's kernel for causal attention, which needs no mask. Both count on padding at the right: what is padding
comes after every token, so that causality alone keeps it out, and what stands at padding is never read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from embedloom.errors import ModelError
from embedloom.model.backbone import is_causal

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "embedloom_windowed"
BLOCK = 512
"""Queries of a block, at least: smaller blocks leave the cores waiting."""
LARGEST_BLOCK = 2048


def use_windowed_attention(backbone: nn.Module) -> None:
    """Lets a decoder's layers attend in blocks. Its inputs must be padded on the right, as the encoder pads them.

    Raises:
        ModelError: the model's layers can't be given another attention, or it looks at later tokens too.
    """
    config: Any = backbone.config
    if not is_causal(backbone):
        raise ModelError(f"{type(backbone).__name__} attends in both directions; long inputs need a causal decoder")
    ALL_ATTENTION_FUNCTIONS.register(NAME, windowed_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, _no_mask)
    backbone.set_attn_implementation(NAME)  # type: ignore[operator]
    if config._attn_implementation != NAME:
        raise ModelError(f"{type(backbone).__name__} has an attention of its own, which can't be done in blocks")


def windowed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention, each query over the last `sliding_window` keys, its own included.

    Args:
        module: the layer's attention; tells how many query heads share a key head.
        query: shape (batch, heads, length, width).
        key: shape (batch, key heads, keys, width); the last keys are of the queries' own tokens.
        value: as `key`.
        attention_mask: none is ever made.
        scaling: of the products; 1 / sqrt(width) if left out.
        dropout: of the weights.
        sliding_window: keys that a query reaches; all before it if left out.

    Returns:
        Shape (batch, length, heads, width), and no weights.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    length, reach = query.shape[2], sliding_window or key.shape[2]
    # Where keys of an earlier pass stand before them, the queries are the last of the tokens.
    before = key.shape[2] - length
    if before == 0 and reach >= length:
        out = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, dropout_p=dropout
        )
        return out.transpose(1, 2).contiguous(), None
    block = min(max(BLOCK, reach), LARGEST_BLOCK)
    parts = []
    for start in range(0, length, block):
        end = min(start + block, length)
        first, last = max(0, before + start - reach + 1), before + end
        behind_QK = _distances(range(before + start, last), range(first, last), query.device)
        parts.append(
            functional.scaled_dot_product_attention(
                query[:, :, start:end],
                key[:, :, first:last],
                value[:, :, first:last],
                attn_mask=(behind_QK >= 0) & (behind_QK < reach),
                scale=scaling,
                dropout_p=dropout,
            )
        )
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _distances(queries: range, keys: range, device: torch.device) -> Tensor:
    """How many tokens each key lies behind each query, shape (queries, keys)."""
    at_Q = torch.arange(queries.start, queries.stop, device=device)
    at_K = torch.arange(keys.start, keys.stop, device=device)
    return at_Q[:, None] - at_K[None, :]


def _no_mask(*_: Any, **__: Any) -> None:
    return None
