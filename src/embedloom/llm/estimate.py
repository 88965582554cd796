"""What a run will ask for, before anything is spent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from embedloom.llm.budget import Prices
from embedloom.records import Prompt

ASSUMED_SHARE = 0.4
"""Of the tokens that a reply may have: a prompt leaves room for scripts that take three times as many as English."""

FEWEST = 20
"""Replies of a family from which their own share is used."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Requests and tokens. `output_tokens` is what to expect, `most_output_tokens` what the requests allow."""

    prompts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    most_output_tokens: int = 0

    def cost(self, prices: Prices) -> tuple[float, float]:
        """Money to expect, and at most."""
        return (
            prices.cost(self.input_tokens, self.output_tokens),
            prices.cost(self.input_tokens, self.most_output_tokens),
        )


def estimate(prompts: Iterable[Prompt], tokens: Callable[[str], int], shares: Mapping[str, float]) -> Estimate:
    """Adds up prompts.

    Args:
        prompts: what will be asked.
        tokens: counts those of a text.
        shares: by family, what replies take of what they may; `ASSUMED_SHARE` for others.
    """
    count = read = most = 0
    expected = 0.0
    for prompt in prompts:
        count += 1
        read += tokens(prompt.text)
        most += prompt.max_new_tokens
        expected += prompt.max_new_tokens * shares.get(prompt.family, ASSUMED_SHARE)
    return Estimate(count, read, round(expected), most)


def reply_shares(prompts: Iterable[Prompt], written: Mapping[str, int]) -> dict[str, float]:
    """By family, the share of the allowed tokens that replies on disk took; families with few replies are left out.

    Args:
        prompts: of the run.
        written: output tokens of the replies, by prompt id.
    """
    sums: dict[str, list[int]] = {}
    for prompt in prompts:
        if prompt.id in written:
            total = sums.setdefault(prompt.family, [0, 0, 0])
            total[0] += 1
            total[1] += written[prompt.id]
            total[2] += prompt.max_new_tokens
    return {family: out / most for family, (count, out, most) in sums.items() if count >= FEWEST and most}
