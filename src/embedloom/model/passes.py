"""Forward passes over rows of token ids, in training and encoding alike: which rows go together, and their vectors.

Rows of like length go together, so that little is padded. What all rows of a pass begin with, as queries do with their
instruction, is computed once: in a causal model the states of a beginning do not depend on what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from embedloom.model.backbone import hidden_states, is_causal, pad_batch
from embedloom.model.inputs import length_sorted
from embedloom.model.packed import TOKEN_BITS, few_sizes, packed_states, packing, packs
from embedloom.model.pooling import pool

if TYPE_CHECKING:
    from torch import Tensor, nn

BEGINNING = 8
"""Tokens that rows must have in common at their beginning to be looked at as queries of one instruction."""
WORTH = 1 / 16
"""A pass of its own for rows of one beginning must save this share of a pass's tokens."""


def plan_passes(
    rows: Sequence[Sequence[int]], *, token_budget: int, max_rows: int = 256, share: bool = True
) -> list[list[int]]:
    """Row numbers in groups, each for one forward pass, longest rows first.

    Args:
        rows: token ids of every text.
        token_budget: rows x longest row of a group, its common beginning not counted, stays within it; a single row is
            never refused.
        max_rows: rows of a group.
        share: whether common beginnings are computed once.
    """
    if not share:
        return length_sorted(map(len, rows), token_budget=token_budget, max_rows=max_rows)
    begun: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(rows):
        begun.setdefault(tuple(row[:BEGINNING]), []).append(number)
    groups: list[list[int]] = []
    rest: list[int] = []
    for numbers in begun.values():
        if len(numbers) == 1:
            rest += numbers
            continue
        common = common_beginning([rows[number] for number in numbers])
        if common >= BEGINNING and common * (len(numbers) - 1) >= WORTH * token_budget:
            groups += _by_length(numbers, [len(rows[number]) - common for number in numbers], token_budget, max_rows)
        else:
            rest += numbers
    rest.sort()
    groups += _by_length(rest, [len(rows[number]) for number in rest], token_budget, max_rows)
    return sorted(groups, key=lambda group: (-len(rows[group[0]]), group[0]))


def row_vectors(
    model: nn.Module,
    rows: Sequence[Sequence[int]],
    *,
    pooling: str,
    pad: int,
    device: torch.device,
    share: bool = True,
) -> Tensor:
    """Unit vectors of the rows of one pass, shape (rows, dimension), float32."""
    if packs(model, rows):
        packed = packing(rows, shared_beginning(rows) if share else 0)
        return pool(*packed_states(model, packed, pooling), pooling)
    return pool(*row_states(model, rows, pad=pad, device=device, share=share), pooling)


def computed_tokens(model: nn.Module, rows: Sequence[Sequence[int]], *, share: bool = True) -> int:
    """Tokens that go through the model in one pass over the rows, with the padding or the filler that it needs."""
    packed = packs(model, rows)
    common = shared_beginning(rows) if share and (packed or _attends(model)) else 0
    if packed:
        return few_sizes(common + sum(len(row) - common for row in rows), TOKEN_BITS)
    return common + len(rows) * (max(map(len, rows)) - common)


def row_states(
    model: nn.Module, rows: Sequence[Sequence[int]], *, pad: int, device: torch.device, share: bool = True
) -> tuple[Tensor, Tensor]:
    """The last layer's states of the rows, shape (rows, longest, dimension), and their mask, padded on the right.

    The graph, if there is one, runs through the common beginning too: its gradient is the sum over the rows.
    """
    common = shared_beginning(rows) if share and _attends(model) else 0
    if not common:
        ids_BL, mask_BL = pad_batch(rows, pad, device)
        return hidden_states(model, ids_BL, mask_BL), mask_BL
    from transformers import DynamicCache

    # No configuration given: layers with a sliding window keep the whole beginning too, for rows to read at an offset.
    once = DynamicCache()
    ids_1P = torch.tensor([list(rows[0][:common])], device=device)
    states_1PD = model(input_ids=ids_1P, past_key_values=once, use_cache=True).last_hidden_state
    shared = DynamicCache()
    layers: Sequence[Any] = once.layers
    for number, layer in enumerate(layers):
        keys, values = (states.expand(len(rows), -1, -1, -1) for states in (layer.keys, layer.values))
        shared.update(keys, values, number)
    ids_BS, mask_BS = pad_batch([row[common:] for row in rows], pad, device)
    mask_BL = torch.cat([mask_BS.new_ones((len(rows), common)), mask_BS], dim=1)
    output = model(input_ids=ids_BS, attention_mask=mask_BL, past_key_values=shared, use_cache=True)
    states_BLD = torch.cat([states_1PD.expand(len(rows), -1, -1), output.last_hidden_state], dim=1)
    return states_BLD, mask_BL


def shared_beginning(rows: Sequence[Sequence[int]]) -> int:
    """Tokens of the rows' common beginning that are worth computing once; 0 where there are too few."""
    common = common_beginning(rows) if len(rows) > 1 else 0
    return common if common >= BEGINNING else 0


def common_beginning(rows: Sequence[Sequence[int]]) -> int:
    """How many token ids all rows begin with; one of every row's is left, so that each has something of its own."""
    first, last = min(map(tuple, rows)), max(map(tuple, rows))
    most = min(map(len, rows)) - 1
    return next((place for place in range(most) if first[place] != last[place]), max(most, 0))


def _attends(model: nn.Module) -> bool:
    """Whether every layer is causal attention, whose keys and values are all that a beginning leaves behind."""
    kinds = getattr(model.config, "layer_types", None) or ()
    # Layers that transformers computes again on the way back leave no keys and values.
    again = model.training and any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    return set(kinds) <= {"full_attention", "sliding_attention"} and is_causal(model) and not again


def _by_length(numbers: Sequence[int], lengths: Sequence[int], token_budget: int, max_rows: int) -> list[list[int]]:
    groups = length_sorted(lengths, token_budget=token_budget, max_rows=max_rows)
    return [[numbers[place] for place in group] for group in groups]
