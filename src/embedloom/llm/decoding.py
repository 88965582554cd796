"""Batched decoding of prompts that share a prefix: the prefix is computed once, finished rows leave the batch."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from embedloom.llm.sampling import RowRandom, Sampling, next_tokens

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

    from embedloom.llm.constrain import JsonConstraint


@dataclass(slots=True)
class Row:
    """One reply in the making: where it is in the batch, what it has said, and why it ended."""

    body: list[int]
    random: RowRandom
    stop: tuple[str, ...]
    limit: int
    matcher: Any = None
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    finish: str = ""


def prefix_cache(model: PreTrainedModel, prefix: Sequence[int]) -> DynamicCache | None:
    """The keys and values of a shared prefix, batch of one; None for an empty prefix."""
    from transformers import DynamicCache

    if not prefix:
        return None
    # No configuration given: layers with a sliding window keep the whole prefix too, since rows read it at an offset.
    cache = DynamicCache()
    ids_1L = torch.tensor([list(prefix)], device=model.device)
    model(input_ids=ids_1L, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache


def decode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prefix: Sequence[int],
    prefix_states: DynamicCache | None,
    rows: Sequence[Row],
    sampling: Sampling,
    constraint: JsonConstraint | None,
    ends: Set[int],
) -> None:
    """Writes the replies of `rows` (text, tokens, finish), all of them behind the same prefix.

    Each row is padded on the left of its prefix, so that prefix, body and reply stand together: a sliding window counts
    places, and padding in between would push words out of it. Where a row is shorter than the longest, its prefix
    begins later, and the end of the prefix is computed with the body. Positions skip the padding, so that a row's
    numbers do not depend on its neighbours but for rounding.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        prefix: token ids before every row's body.
        prefix_states: `prefix_cache` of them.
        rows: what to answer; written to.
        sampling: how tokens are drawn.
        constraint: masks tokens for rows that have a matcher.
        ends: ids that end a reply.
    """
    longest = max(len(row.body) for row in rows)
    device = model.device
    ids_BL = torch.full((len(rows), longest), tokenizer.pad_token_id or 0)
    mask_BL = torch.ones((len(rows), len(prefix) + longest), dtype=torch.long)
    offsets = [longest - len(row.body) for row in rows]
    for number, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
        own = [*prefix[max(0, len(prefix) - offset) :], *row.body]
        ids_BL[number, longest - len(own) :] = torch.tensor(own)
        mask_BL[number, :offset] = 0
    ids_BL, mask_BL = ids_BL.to(device), mask_BL.to(device)
    positions_BL = (mask_BL.cumsum(dim=1) - 1).clamp(min=0)[:, len(prefix) :]
    cache = _shifted(prefix_states, offsets)
    active = list(rows)
    while True:
        logits_BV = model(
            input_ids=ids_BL,
            attention_mask=mask_BL,
            position_ids=positions_BL,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        if constraint is not None:
            logits_BV = constraint.mask(logits_BV, [row.matcher for row in active])
        chosen_B = next_tokens(logits_BV, sampling, [row.random for row in active])
        _take(tokenizer, active, chosen_B.tolist(), ends)
        going = [number for number, row in enumerate(active) if not row.finish]
        if not going:
            return
        positions_BL = positions_BL[:, -1:] + 1
        if len(going) <= 0.75 * len(active):
            keep = torch.tensor(going, device=device)
            cache.batch_select_indices(keep)
            active = [active[number] for number in going]
            mask_BL, positions_BL, chosen_B = mask_BL[keep], positions_BL[keep], chosen_B[keep]
        ids_BL = chosen_B.unsqueeze(1)
        mask_BL = torch.cat([mask_BL, torch.ones_like(mask_BL[:, :1])], dim=1)


def _shifted(prefix_states: DynamicCache | None, offsets: Sequence[int]) -> DynamicCache:
    """The prefix's states once a row, moved to the right by the row's offset; what comes in on the left is masked."""
    from transformers import DynamicCache

    cache = DynamicCache()
    if prefix_states is not None:
        layers: Sequence[Any] = prefix_states.layers
        for number, layer in enumerate(layers):
            keys, values = (
                torch.stack([states[0].roll(min(offset, states.shape[-2]), dims=-2) for offset in offsets])
                for states in (layer.keys, layer.values)
            )
            cache.update(keys, values, number)
    return cache


def _take(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], chosen: Sequence[int], ends: Set[int]) -> None:
    for row, token in zip(rows, chosen, strict=True):
        if row.finish:
            continue
        if token in ends:
            row.finish = "stop"
            continue
        row.tokens.append(token)
        if row.matcher is not None:
            row.matcher.consume_token(token)
            if row.matcher.is_stopped():
                row.finish = "stop"
        elif row.stop:
            row.text = str(tokenizer.decode(row.tokens, skip_special_tokens=True))
            if any(stop in row.text for stop in row.stop):
                row.finish = "stop"
        if not row.finish and len(row.tokens) >= row.limit:
            row.finish = "length"
    for row in rows:
        if row.finish:
            row.text = str(tokenizer.decode(row.tokens, skip_special_tokens=True))
            places = [row.text.find(stop) for stop in row.stop if stop in row.text]
            if places and row.matcher is None:
                row.text = row.text[: min(places)]
