"""The last layer for those tokens alone that are read. Of all others it needs the keys and values, and nothing more.

A vector is the state of a row's last token. In the layers before the last every token counts: others attend to it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from embedloom.model.recompute import decoder_layers

if TYPE_CHECKING:
    from torch import Tensor, nn


def compute_read_tokens_alone(backbone: nn.Module) -> None:
    """Lets the last layer compute the tokens `read_R` alone, where a forward pass is told some.

    Args:
        backbone: a decoder without head, whose attention asks a cache for the keys and values of all tokens.
    """
    last = decoder_layers(backbone, "model._attn_implementation to sdpa")[-1]
    last.register_forward_pre_hook(_choose_tokens, with_kwargs=True)


def _choose_tokens(layer: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    read_R = named.get("read_R")
    if read_R is None:
        return None
    (states_1ND,), (cosine_1ND, sine_1ND) = inputs, named["position_embeddings"]
    known = _Known(*_keys_and_values(layer.self_attn, layer.input_layernorm(states_1ND), cosine_1ND, sine_1ND))
    mask_R1LS, places_N = named["attention_mask"], named["places_N"]
    few = {
        "position_embeddings": (cosine_1ND.index_select(1, read_R), sine_1ND.index_select(1, read_R)),
        "position_ids": named["position_ids"].index_select(1, read_R),
        "attention_mask": mask_R1LS.flatten(0, 2).index_select(0, places_N[read_R])[:, None, None],
        "past_key_values": known,
    }
    return (states_1ND.index_select(1, read_R),), named | few


def _keys_and_values(attention: Any, states_1ND: Tensor, cosine_1ND: Tensor, sine_1ND: Tensor) -> tuple[Tensor, Tensor]:
    """Of all tokens, each of shape (1, key heads, N, width), as the layer's attention makes them."""
    shape = (*states_1ND.shape[:-1], -1, attention.head_dim)
    keys_1NKD = attention.k_proj(states_1ND).view(shape)
    if hasattr(attention, "k_norm"):
        keys_1NKD = attention.k_norm(keys_1NKD)
    keys_1KND = keys_1NKD.transpose(1, 2)
    rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb
    _, rotated_1KND = rotate(keys_1KND[:, :0], keys_1KND, cosine_1ND, sine_1ND)
    return rotated_1KND, attention.v_proj(states_1ND).view(shape).transpose(1, 2)


class _Known:
    """A cache, as attention asks one: it answers with the keys and values of all tokens, whatever it is given."""

    def __init__(self, keys_1KND: Tensor, values_1KND: Tensor) -> None:
        self._known = keys_1KND, values_1KND

    def update(self, *_: Any) -> tuple[Tensor, Tensor]:
        return self._known
