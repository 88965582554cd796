"""What moves a model's figures besides the model, as records: words of the instruction, batch and precision."""

from __future__ import annotations

from dataclasses import dataclass

from embedloom.evals.paraphrases import Sensitivity


@dataclass(frozen=True, slots=True)
class Spread:
    """How far one model's main figure on one set moves with the words of its instruction.

    `low` and `high` are the paired interval of `best` - `worst`.
    """

    model: str
    task: str
    metric: str
    instructions: int
    own: float
    worst: float
    best: float
    low: float
    high: float
    worst_instruction: str
    best_instruction: str


@dataclass(frozen=True, slots=True)
class Invariance:
    """The largest 1 - cosine that something made between vectors of the same texts, and what rounding may make."""

    model: str
    what: str
    texts: int
    gap: float
    allowed: float


def spread(model: str, told: Sensitivity) -> Spread:
    """The record of a sensitivity."""
    return Spread(
        model,
        told.task,
        told.metric,
        told.instructions,
        told.own,
        told.worst.main.estimate.value,
        told.best.main.estimate.value,
        *told.difference.interval,
        told.worst.instruction,
        told.best.instruction,
    )
