"""What may be spent: tokens or money. A request is asked only if it can't lead beyond, so that a budget is kept."""

from __future__ import annotations

from dataclasses import dataclass

from embedloom.errors import EmbedloomError


class IncompleteError(EmbedloomError):
    """Prompts are left that can't be asked now; what was answered is on disk."""


class BudgetError(IncompleteError):
    """The budget is spent and prompts are left; what was answered is on disk."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Money for a million tokens, in any currency."""

    input: float = 0.0
    output: float = 0.0

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Money for so many tokens."""
        return (input_tokens * self.input + output_tokens * self.output) / 1e6


class Budget:
    """Counts what was spent and what requests in flight may still spend.

    Args:
        tokens: at most so many, input and output together; 0 for no limit.
        money: at most so much at `prices`; 0 for no limit.
        prices: of tokens.
        spent_input: input tokens that were spent before.
        spent_output: output tokens that were spent before.
    """

    def __init__(
        self,
        *,
        tokens: int = 0,
        money: float = 0.0,
        prices: Prices = Prices(),
        spent_input: int = 0,
        spent_output: int = 0,
    ) -> None:
        self.tokens, self.money, self.prices = tokens, money, prices
        self.input, self.output = spent_input, spent_output
        self._held_input = self._held_output = 0

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self.tokens or self.money)

    def hold(self, input_tokens: int, output_tokens: int) -> bool:
        """Sets aside what a request may cost at most. False, and nothing is set aside, if that might go beyond."""
        total_input = self.input + self._held_input + input_tokens
        total_output = self.output + self._held_output + output_tokens
        if self.tokens and total_input + total_output > self.tokens:
            return False
        if self.money and self.prices.cost(total_input, total_output) > self.money:
            return False
        self._held_input += input_tokens
        self._held_output += output_tokens
        return True

    def release(self, input_tokens: int, output_tokens: int) -> None:
        """Gives back what `hold` set aside."""
        self._held_input -= input_tokens
        self._held_output -= output_tokens

    def spend(self, input_tokens: int, output_tokens: int) -> None:
        """Counts what a reply cost."""
        self.input += input_tokens
        self.output += output_tokens

    def told(self) -> str:
        """What was spent of what, for people."""
        parts = []
        if self.tokens:
            parts.append(f"{self.input + self.output:,} of {self.tokens:,} tokens")
        if self.money:
            parts.append(f"{self.prices.cost(self.input, self.output):.4f} of {self.money:g} in money")
        return ", ".join(parts)
