"""Batched decoding of prompts that share a prefix: the prefix is computed once, finished rows leave the batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
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
    cache = DynamicCache(config=model.config)
    ids_1L = torch.tensor([list(prefix)], device=model.device)
    model(input_ids=ids_1L, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache


def decode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prefix_length: int,
    prefix: DynamicCache | None,
    rows: Sequence[Row],
    sampling: Sampling,
    constraint: JsonConstraint | None,
) -> None:
    """Writes the replies of `rows` (text, tokens, finish), all of them behind the same prefix.

    Bodies are padded on the left, between prefix and body; positions skip the padding, so that a row's numbers do not
    depend on its neighbours but for rounding.
    """
    from transformers import DynamicCache

    longest = max(len(row.body) for row in rows)
    pad = tokenizer.pad_token_id or 0
    device = model.device
    ids_BL = torch.full((len(rows), longest), pad, device=device)
    mask_BL = torch.zeros((len(rows), prefix_length + longest), dtype=torch.long, device=device)
    mask_BL[:, :prefix_length] = 1
    for number, row in enumerate(rows):
        ids_BL[number, longest - len(row.body) :] = torch.tensor(row.body, device=device)
        mask_BL[number, prefix_length + longest - len(row.body) :] = 1
    if prefix is None:
        cache = DynamicCache(config=model.config)
    else:
        cache = copy.deepcopy(prefix)
        cache.batch_repeat_interleave(len(rows))
    positions_BL = (mask_BL.cumsum(dim=1) - 1).clamp(min=0)[:, prefix_length:]
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
        _take(tokenizer, active, chosen_B.tolist())
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


def _take(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], chosen: Sequence[int]) -> None:
    for row, token in zip(rows, chosen, strict=True):
        if row.finish:
            continue
        if token == tokenizer.eos_token_id:
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
