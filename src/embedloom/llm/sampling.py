"""The next token of each row, drawn with random numbers that belong to the row alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from embedloom.records import content_id

if TYPE_CHECKING:
    from torch import Tensor

PIECE = 128
"""Logits of a vocabulary that are looked at together."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is drawn. `temperature` 0 takes the likeliest; `top_k` 0 and `top_p` 1 leave all tokens."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0


class RowRandom:
    """A stream of uniform numbers for one prompt: a function of (seed, prompt id), whatever batch the prompt is in."""

    def __init__(self, seed: int, prompt_id: str) -> None:
        self._generator = np.random.Generator(np.random.Philox(key=int(content_id("sample", seed, prompt_id), 16)))

    def uniform(self) -> float:
        """The next number in [0, 1)."""
        return float(self._generator.random())


def next_tokens(logits_BV: Tensor, sampling: Sampling, randoms: Sequence[RowRandom]) -> Tensor:
    """One token id a row, shape (batch,), from logits of shape (batch, vocabulary)."""
    if sampling.temperature == 0:
        return logits_BV.argmax(dim=-1)
    if sampling.top_k:
        values_BK, ids_BK = largest(logits_BV, sampling.top_k)
    elif sampling.top_p < 1:
        values_BK, ids_BK = logits_BV.sort(dim=-1, descending=True)
    else:
        values_BK, ids_BK = logits_BV, None
    chances_BK = (values_BK.float() / sampling.temperature).softmax(dim=-1)
    if sampling.top_p < 1:
        before_BK = chances_BK.cumsum(dim=-1) - chances_BK
        chances_BK = chances_BK.masked_fill(before_BK >= sampling.top_p, 0.0)
    totals_BK = chances_BK.cumsum(dim=-1, dtype=torch.float64)
    drawn = torch.tensor([random.uniform() for random in randoms], dtype=torch.float64, device=logits_BV.device)
    places_B1 = torch.searchsorted(totals_BK, (drawn * totals_BK[:, -1]).unsqueeze(1), right=True)
    last_B1 = (
        (chances_BK > 0).long().mul(torch.arange(chances_BK.shape[1], device=logits_BV.device)).amax(1, keepdim=True)
    )
    places_B1 = torch.minimum(places_B1, last_B1)
    return (places_B1 if ids_BK is None else ids_BK.gather(1, places_B1)).squeeze(1)


def largest(values_BV: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest values of each row, largest first, and their places, as `topk` gives them.

    A row of a large vocabulary is looked at in pieces: the largest values all lie in the pieces whose own largest are
    the largest, of which there are no more than `count`.
    """
    width = values_BV.shape[-1]
    pieces = width // PIECE
    if pieces <= 4 * count:
        return values_BV.topk(min(count, width), dim=-1)
    whole = values_BV[:, : pieces * PIECE].reshape(-1, pieces, PIECE)
    chosen_BC = whole.amax(dim=-1).topk(count, dim=-1).indices
    found_BCP = whole.gather(1, chosen_BC.unsqueeze(-1).expand(-1, -1, PIECE))
    places_BCP = chosen_BC.unsqueeze(-1) * PIECE + torch.arange(PIECE, device=values_BV.device)
    rest = torch.arange(pieces * PIECE, width, device=values_BV.device).expand(len(values_BV), -1)
    found_BN = torch.cat([found_BCP.flatten(1), values_BV[:, pieces * PIECE :]], dim=1)
    places_BN = torch.cat([places_BCP.flatten(1), rest], dim=1)
    values_BK, at_BK = found_BN.topk(count, dim=-1)
    return values_BK, places_BN.gather(1, at_BK)
