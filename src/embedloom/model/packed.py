"""Passes without padding: the rows of a pass lie end to end, and only attention tells them apart.

What all rows begin with lies first, once. Every layer but attention works on tokens one by one, so it sees no padding
to the longest row and no beginning twice. Attention puts the tokens of each row into a block of their own, and
multiplies there: on CPUs that is faster in bfloat16 than torch's kernel, which is made for long rows.

Filler makes the sizes of passes few: code is made for every new shape of a product and kept. It lies behind the ends of
rows, where they don't see it, and in blocks of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from embedloom.model.backbone import is_causal
from embedloom.model.last_layer import compute_read_tokens_alone

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "embedloom_packed"
KINDS = {"gemma3_text", "llama", "mistral", "qwen2", "qwen3"}
"""Architectures whose layers hand what attention needs through to it, as the tests prove."""
LONGEST = 2048
"""Rows beyond that are computed by kernels that make no products of length x length."""
TOKEN_BITS, BLOCK_BITS = 6, 5
"""How exactly passes keep their number of tokens, and of blocks and their length: see `few_sizes`."""
FILLER = 0
"""A token id that every model has."""


def use_packed_passes(backbone: nn.Module, device: torch.device) -> None:
    """Lets a decoder compute passes without padding on a CPU; what can't is left as it is.

    Args:
        backbone: the transformer without head, wherever its weights lie now.
        device: where its passes will be computed.
    """
    config: Any = backbone.config
    fits = config.model_type in KINDS and config._attn_implementation == "sdpa"
    if fits and device.type == "cpu" and is_causal(backbone):
        ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
        ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
        backbone.set_attn_implementation(NAME)  # type: ignore[operator]
        compute_read_tokens_alone(backbone)


def packs(model: nn.Module, rows: Sequence[Sequence[int]]) -> bool:
    """Whether these rows can go through the model without padding."""
    implementation = getattr(model.config, "_attn_implementation", None)
    return implementation == NAME and max(map(len, rows)) <= LONGEST


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the tokens of a pass lie. N tokens in all, B rows; R blocks of at most L tokens: the beginning's, those of
    filler, whose states are dropped, and one of each row, with perhaps some filler behind it.

    Attributes:
        ids_1N: token ids, the common beginning first.
        positions_1N: of each in its row.
        slots_RL: the token of each place in a block; 0 where there is none.
        places_N: each token's place, counted through all blocks.
        last_R: the last token of each row, in the place of its block, and any token in the others.
        token_BW: the token of each place in a whole row, its beginning included; any behind its end.
        lengths_B: of the whole rows.
        beginning: how many tokens all rows begin with.
    """

    ids_1N: Tensor
    positions_1N: Tensor
    slots_RL: Tensor
    places_N: Tensor
    last_R: Tensor
    token_BW: Tensor
    lengths_B: Tensor
    beginning: int

    def read_by(self, pooling: str) -> tuple[Tensor, Tensor]:
        """The tokens that a pooling other than of the last reads of each row, and 1 where there is one, both of shape
        (B, any)."""
        if pooling == "cls":
            return self.token_BW[:, :1], torch.ones_like(self.token_BW[:, :1])
        return self.token_BW, (torch.arange(self.token_BW.shape[1]) < self.lengths_B[:, None]).long()


def packing(rows: Sequence[Sequence[int]], beginning: int) -> Packing:
    """Lays rows of token ids end to end.

    Args:
        rows: each has more tokens than `beginning`.
        beginning: tokens that all rows begin with and that are computed once; 0 for none.
    """
    first = [list(rows[0][:beginning])] if beginning else []
    own = [list(row[beginning:]) for row in rows]
    count, most = len(first) + len(own), few_sizes(max(map(len, [*first, *own])), BLOCK_BITS)
    blocks = [*first, *([] for _ in range(few_sizes(count, BLOCK_BITS) - count)), *own]
    lasts_R = torch.tensor([len(block) - 1 for block in blocks]).clamp(min=0)
    tokens = sum(map(len, blocks))
    blocks = [*first, *_with_filler(blocks[len(first) :], few_sizes(tokens, TOKEN_BITS) - tokens, most)]
    sizes = torch.tensor([len(block) for block in blocks])
    starts_R = sizes.cumsum(0) - sizes
    at_L = torch.arange(most)
    filled_RL = at_L[None, :] < sizes[:, None]
    slots_RL = (starts_R[:, None] + at_L[None, :]) * filled_RL
    offsets_R = torch.full_like(sizes, beginning)
    if beginning:
        offsets_R[0] = 0
    positions_RL = offsets_R[:, None] + at_L[None, :]
    own_BL = slots_RL[-len(rows) :]
    token_BW = torch.cat([torch.arange(beginning).expand(len(rows), -1), own_BL], dim=1)
    return Packing(
        ids_1N=torch.tensor([token for block in blocks for token in block])[None],
        positions_1N=positions_RL[filled_RL][None],
        slots_RL=slots_RL,
        places_N=filled_RL.flatten().nonzero()[:, 0],
        last_R=slots_RL.gather(1, lasts_R[:, None])[:, 0],
        token_BW=token_BW,
        lengths_B=torch.tensor([len(row) for row in rows]),
        beginning=beginning,
    )


def few_sizes(number: int, bits: int) -> int:
    """The next number from `number` on that has at most so many binary digits before its zeros.

    With five of them all up to 32 stay, and from there on one is at most a sixteenth larger: 34 for 33, 136 for 130.
    """
    step = 1 << max(number.bit_length() - bits, 0)
    return -(-number // step) * step


def _with_filler(blocks: Sequence[Sequence[int]], missing: int, most: int) -> list[list[int]]:
    """The blocks with so many tokens of filler behind their ends, or as many as there is room for."""
    filled = []
    for block in blocks:
        some = min(missing, most - len(block))
        filled.append([*block, *[FILLER] * some])
        missing -= some
    return filled


def packed_states(model: nn.Module, packed: Packing, pooling: str) -> tuple[Tensor, Tensor]:
    """The last layer's states that a pooling reads, shape (B, any, dimension), and 1 where there is one."""
    if pooling == "last":
        # One token of every block, so that the last layer, too, has few sizes.
        states_B1D = _states(model, packed, read_R=packed.last_R)[-len(packed.lengths_B) :, None]
        return states_B1D, torch.ones(states_B1D.shape[:2], dtype=torch.long)
    read_BW, mask_BW = packed.read_by(pooling)
    return _states(model, packed)[read_BW], mask_BW


def _states(model: nn.Module, packed: Packing, **more: Any) -> Tensor:
    output = model(
        input_ids=packed.ids_1N,
        position_ids=packed.positions_1N,
        attention_mask=_masks(model, packed),
        use_cache=False,
        slots_RL=packed.slots_RL,
        places_N=packed.places_N,
        **more,
    )
    states_1ND: Tensor = output.last_hidden_state
    return states_1ND[0]


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    slots_RL: Tensor | None = None,
    places_N: Tensor | None = None,
    **more: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention within each block and to the common beginning; torch's own where rows are not packed.

    Args:
        module: the layer's attention.
        query: shape (1, heads, N, width), or (1, heads, R, width), of one token a block.
        key: shape (1, key heads, N, width).
        value: as `key`.
        attention_mask: to be added, shape (R, 1, L, beginning + L), or (R, 1, 1, beginning + L).
        scaling: of the products; 1 / sqrt(width) if left out.
        dropout: of the weights.
        slots_RL: of the packing.
        places_N: of the packing.

    Returns:
        Shape (1, N or R, heads, width), and no weights.
    """
    if slots_RL is None or places_N is None:
        told = {"scaling": scaling, "dropout": dropout}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **told, **more)  # type: ignore[arg-type]
    assert attention_mask is not None
    (_, heads, tokens, width), shared, longest = query.shape, key.shape[1], slots_RL.shape[1]
    blocks, _, most, reached = attention_mask.shape
    groups, some = heads // shared, most < longest or tokens != key.shape[2]
    scale = width**-0.5 if scaling is None else scaling

    def spread(states_1HND: Tensor) -> Tensor:
        states_NF = states_1HND[0].transpose(0, 1).flatten(1)
        spread_RLF = _Spread.apply(states_NF, slots_RL.flatten(), places_N)  # type: ignore[no-untyped-call]
        return spread_RLF.view(-1, longest, states_1HND.shape[1], width)  # type: ignore[no-any-return]

    def keyed(states_1KND: Tensor) -> Tensor:
        own_RLKD, before = spread(states_1KND), reached - longest
        first_PKD = states_1KND[0, :, :before].transpose(0, 1)
        all_RSKD = torch.cat([first_PKD.expand(blocks, -1, -1, -1), own_RLKD], dim=1) if before else own_RLKD
        return all_RSKD.transpose(1, 2).reshape(blocks * shared, reached, width)

    asked = query.transpose(1, 2) if some else spread(query)
    query_RKMD = (asked * scale).view(blocks, most, shared, groups, width).transpose(1, 2)
    query_BMD = query_RKMD.reshape(blocks * shared, most * groups, width)
    scores_BMS = torch.bmm(query_BMD, keyed(key).transpose(1, 2))
    scores_RKLGS = scores_BMS.view(blocks, shared, most, groups, reached) + attention_mask.unsqueeze(3)
    weights_BMS = torch.softmax(scores_RKLGS, dim=-1).view(blocks * shared, most * groups, reached)
    if dropout:
        weights_BMS = functional.dropout(weights_BMS, dropout)
    read_BMD = torch.bmm(weights_BMS, keyed(value))
    read_RLF = read_BMD.view(blocks, shared, most, groups, width).transpose(1, 2).reshape(blocks * most, heads * width)
    if some:
        return read_RLF.view(1, tokens, heads, width), None
    read_NF: Tensor = _Collect.apply(read_RLF, slots_RL.flatten(), places_N)  # type: ignore[no-untyped-call]
    return read_NF.view(1, -1, heads, width), None


def _masks(model: nn.Module, packed: Packing) -> Any:
    """What each kind of layer adds to its scores: one mask, or one by the kind's name."""
    config: Any = model.config
    dtype = next(model.parameters()).dtype
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if not kinds:
        return _mask(packed, window, dtype)
    windows = {"full_attention": None, "sliding_attention": window}
    return {kind: _mask(packed, windows[kind], dtype) for kind in sorted(set(kinds))}


def _mask(packed: Packing, window: int | None, dtype: torch.dtype) -> Tensor:
    most, before = packed.slots_RL.shape[1], packed.beginning
    at_L = torch.arange(most)
    # Behind the beginning, whose own tokens are the keys first in line.
    behind_LS = (before + at_L)[:, None] - torch.arange(before + most)[None, :]
    seen_LS = (behind_LS >= 0) & (behind_LS < (window or before + most))
    seen_RLS = seen_LS.expand(len(packed.slots_RL), -1, -1).clone()
    if before:
        # The beginning itself is a block that sees its own tokens, not those in line before them.
        seen_RLS[0, :, :before] = False
    mask_RLS = torch.zeros(seen_RLS.shape, dtype=dtype).masked_fill_(~seen_RLS, torch.finfo(dtype).min)
    return mask_RLS[:, None]


class _Spread(torch.autograd.Function):
    """Tokens into their places in blocks, (N, F) to (R x L, F). A place without a token holds any."""

    @staticmethod
    def forward(ctx: Any, states_NF: Tensor, slots: Tensor, places_N: Tensor) -> Tensor:
        ctx.save_for_backward(places_N)
        return states_NF.index_select(0, slots)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (places_N,) = ctx.saved_tensors
        return gradient.index_select(0, places_N), None, None


class _Collect(torch.autograd.Function):
    """Tokens out of their places in blocks, (R x L, F) to (N, F). A place without a token gets no gradient."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, slots: Tensor, places_N: Tensor) -> Tensor:
        ctx.save_for_backward(slots, places_N)
        return blocks.index_select(0, places_N)

    @staticmethod
    def backward(ctx: Any, gradient_NF: Tensor) -> tuple[Tensor | None, ...]:
        slots, places_N = ctx.saved_tensors
        filled = torch.zeros_like(slots, dtype=torch.bool).index_fill(0, places_N, True)
        return gradient_NF.index_select(0, slots).mul_(filled[:, None]), None, None
