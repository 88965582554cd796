"""Sentence pairs: JSONL with `sentence1`, `sentence2` and, for semantic similarity (STS), `score`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from embedloom.data.fields import number_of, text_of
from embedloom.errors import DataError
from embedloom.run import read_objects


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """Two sentences and how similar people found them; only the order of the scores counts."""

    sentence1: str
    sentence2: str
    score: float


@dataclass(frozen=True, slots=True)
class TranslationPair:
    """A sentence and its translation."""

    sentence1: str
    sentence2: str


def read_scored_pairs(path: Path) -> tuple[ScoredPair, ...]:
    """Reads an STS file; `.gz` too.

    Raises:
        DataError: a malformed line, a missing or empty sentence, a score that is missing or not finite, fewer than two
            pairs, or the same score in every line (no order to correlate with).
    """
    pairs = tuple(
        ScoredPair(
            text_of(obj, "sentence1", path, line),
            text_of(obj, "sentence2", path, line),
            number_of(obj, "score", path, line),
        )
        for line, obj in read_objects(path)
    )
    if len({pair.score for pair in pairs}) < 2:
        raise DataError("expected at least two pairs with different scores", path)
    return pairs


def read_translation_pairs(path: Path) -> tuple[TranslationPair, ...]:
    """Reads a bitext file, in which line n of one side translates line n of the other; `.gz` too.

    Raises:
        DataError: a malformed line, a missing or empty sentence, or no pair at all.
    """
    pairs = tuple(
        TranslationPair(text_of(obj, "sentence1", path, line), text_of(obj, "sentence2", path, line))
        for line, obj in read_objects(path)
    )
    if not pairs:
        raise DataError("is empty; expected one JSON object with 'sentence1' and 'sentence2' a line", path)
    return pairs
