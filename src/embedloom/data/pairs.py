"""Sentence pairs: JSONL with `sentence1`, `sentence2` and, by task, a `score` (STS), a `label` (pair classification)
or neither (bitext)."""

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


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two sentences and whether people found that they belong together."""

    sentence1: str
    sentence2: str
    positive: bool


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


def read_labelled_pairs(path: Path) -> tuple[LabelledPair, ...]:
    """Reads a file of pair classification, in which `label` is 1 or 0; `.gz` too.

    Raises:
        DataError: a malformed line, a missing or empty sentence, a label other than 0 and 1, or only one of both.
    """
    pairs = []
    for line, obj in read_objects(path):
        label = number_of(obj, "label", path, line)
        if label not in (0, 1):
            raise DataError(f"key 'label': expected 0 or 1, got {obj['label']!r}", path, line)
        left, right = text_of(obj, "sentence1", path, line), text_of(obj, "sentence2", path, line)
        pairs.append(LabelledPair(left, right, label == 1))
    if len({pair.positive for pair in pairs}) < 2:
        raise DataError("expected pairs of both labels, 0 and 1", path)
    return tuple(pairs)
