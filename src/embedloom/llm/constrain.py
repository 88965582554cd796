"""Replies that must be a JSON object: tokens that would break the schema are masked (by llguidance)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from embedloom.llm.schema import string_object_schema

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


class JsonConstraint:
    """Grammars for one tokenizer; `start` gives a matcher that follows one reply.

    Args:
        tokenizer: a fast tokenizer.
        vocabulary: width of the model's logits.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
        from llguidance.hf import from_tokenizer

        self._tokenizer = from_tokenizer(tokenizer, n_vocab=vocabulary)  # type: ignore[arg-type]
        self._vocabulary = vocabulary
        self._grammars: dict[tuple[str, ...], str] = {}

    def start(self, keys: tuple[str, ...]) -> Any:
        """A matcher for a reply with these keys."""
        from llguidance import LLMatcher

        if keys not in self._grammars:
            self._grammars[keys] = LLMatcher.grammar_from_json_schema(string_object_schema(keys))
        return LLMatcher(self._tokenizer, self._grammars[keys])

    def mask(self, logits_BV: Tensor, matchers: Sequence[Any]) -> Tensor:
        """The logits, minus infinity where a token would break a row's grammar; a row without matcher is left alone."""
        words = (self._vocabulary + 31) // 32
        bits_BW = torch.full((len(matchers), words), -1, dtype=torch.int32)
        for row, matcher in enumerate(matchers):
            if matcher is not None:
                matcher.unsafe_compute_mask_ptr(bits_BW[row].data_ptr(), words * 4)
        shifts = torch.arange(32, dtype=torch.int32)
        allowed_BV = ((bits_BW.unsqueeze(-1) >> shifts) & 1).bool().flatten(1)[:, : logits_BV.shape[1]]
        return logits_BV.masked_fill(~allowed_BV.to(logits_BV.device), float("-inf"))
