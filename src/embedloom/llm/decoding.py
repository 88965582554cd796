"""Batched decoding of prompts that share a beginning: it is computed once, and a row that is done makes room for the
next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from embedloom.llm.sampling import RowRandom, Sampling, next_tokens
from embedloom.model.backbone import pass_tokens
from embedloom.model.inputs import length_sorted
from embedloom.model.row_states import Beginning, RowStates, row_pass

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from embedloom.llm.constrain import JsonConstraint
    from embedloom.records import Prompt

REFILL = 8
"""New rows are taken in when one slot in so many is free: a pass over few tokens would leave the cores waiting."""
SHRINK = 0.75
"""When no rows wait, slots are given up once so many of them, or fewer, are in use."""


@dataclass(slots=True)
class Row:
    """One reply in the making: what is asked, what it has said, and why it ended."""

    prompt: Prompt
    body: list[int]
    random: RowRandom
    matcher: Any = None
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    finish: str = ""

    @property
    def limit(self) -> int:
        """Tokens that the reply may have."""
        return self.prompt.max_new_tokens

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings before which the reply ends."""
        return self.prompt.stop


def decode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    beginning: Beginning,
    more: Callable[[int], Sequence[Row]],
    *,
    slots: int,
    sampling: Sampling,
    constraint: JsonConstraint | None,
    ends: Set[int],
) -> Iterator[list[Row]]:
    """Writes replies (text, tokens, finish) behind one beginning, and yields the rows that are done.

    A row that is done leaves its slot to the next one, so that the batch stays full while rows are left. Positions skip
    the padding, so that a row's numbers do not depend on its neighbours but for rounding.

    Args:
        model: a causal language model, made ready by `use_row_states`.
        tokenizer: its tokenizer.
        beginning: what stands before every row's body.
        more: gives up to so many rows that wait, like in length; none when none is left.
        slots: rows decoded together.
        sampling: how tokens are drawn.
        constraint: masks tokens for rows that have a matcher.
        ends: ids that end a reply.
    """
    states = RowStates(beginning, slots, model.device)
    placed: list[Row | None] = [None] * slots
    last_B1 = torch.full((slots, 1), tokenizer.pad_token_id or 0, device=model.device)
    done: list[Row] = []

    def say(logits_BV: Tensor, at: Sequence[int]) -> None:
        rows = [row for row in (placed[slot] for slot in at) if row is not None]
        if constraint is not None:
            logits_BV = constraint.mask(logits_BV, [row.matcher for row in rows])
        chosen_B = next_tokens(logits_BV, sampling, [row.random for row in rows])
        last_B1[list(at), 0] = chosen_B
        _take(tokenizer, rows, chosen_B.tolist(), ends)
        for slot, row in zip(at, rows, strict=True):
            if row.finish:
                done.append(row)
                placed[slot] = None
                states.rest(slot)

    def begin(at: Sequence[int]) -> None:
        rows = [row for row in (placed[slot] for slot in at) if row is not None]
        lengths = [len(row.body) for row in rows]
        ids_BL = torch.full((len(rows), max(lengths)), tokenizer.pad_token_id or 0)
        for number, row in enumerate(rows):
            ids_BL[number, -len(row.body) :] = torch.tensor(row.body)
        positions_BL = states.begin(at, lengths, max(row.limit for row in rows))
        say(row_pass(model, ids_BL.to(model.device), positions_BL, states), at)

    exhausted = False
    while True:
        free = [slot for slot, row in enumerate(placed) if row is None]
        if not exhausted and len(free) >= max(1, slots // REFILL):
            if done:
                yield done
                done = []
            new = more(len(free))
            exhausted = len(new) < len(free)
            if new:
                at = free[: len(new)]
                for slot, row in zip(at, new, strict=True):
                    placed[slot] = row
                # In passes of like length, so that little is padded.
                lengths = [len(row.body) for row in new]
                for group in length_sorted(
                    lengths, token_budget=pass_tokens(model.device, model.dtype), max_rows=slots
                ):
                    begin([at[number] for number in group])
                continue
        busy = [slot for slot, row in enumerate(placed) if row is not None]
        if not busy:
            if done:
                yield done
            return
        if exhausted and len(busy) <= SHRINK * len(placed):
            states.keep(busy)
            placed, last_B1, busy = [placed[slot] for slot in busy], last_B1[busy], list(range(len(busy)))
        logits_BV = row_pass(model, last_B1, states.go_on(), states)
        say(logits_BV if len(busy) == len(placed) else logits_BV[busy], busy)


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
