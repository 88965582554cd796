"""Duplicates over the whole set: the same query again, and texts that are nearly the same.

Of several that are alike the one with the smallest id stays, so that the outcome doesn't depend on the order of the
rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from embedloom.data.near_duplicates import near_duplicates
from embedloom.data.words import normalised
from embedloom.records import Example, Reject

STAGE = "duplicates"
THRESHOLD = 0.8
"""Jaccard similarity of words and word pairs from which two texts are near duplicates."""


def drop_duplicates(examples: Iterable[Example], *, threshold: float = THRESHOLD) -> Iterator[Example | Reject]:
    """Examples in their order; `Reject`s by `exact-duplicate` and `near-duplicate` name the example that stays.

    An exact duplicate has the same query under the same instruction (for bitext into the same language), up to case,
    punctuation and white space. A near duplicate is one by the text that was written: query and positives, and for
    grounded examples the query alone, since their passage is meant to recur.

    Args:
        examples: all of them are held in memory.
        threshold: estimated Jaccard similarity from which texts are alike; above 1 turns the search off.
    """
    rows = list(examples)
    order = sorted(range(len(rows)), key=lambda at: rows[at].id)
    verdicts: dict[int, tuple[str, str]] = {}
    first: dict[str, int] = {}
    for at in order:
        stays = first.setdefault(_identity(rows[at]), at)
        if stays != at:
            verdicts[at] = ("exact-duplicate", rows[stays].id)
    rest = [at for at in order if at not in verdicts]
    for place, stays_at in near_duplicates([_written(rows[at]) for at in rest], threshold=threshold):
        verdicts[rest[place]] = ("near-duplicate", rows[rest[stays_at]].id)
    for at, row in enumerate(rows):
        yield Reject(row.id, STAGE, *verdicts[at]) if at in verdicts else row


def _identity(example: Example) -> str:
    return "\n".join((normalised(example.instruction), example.target_language, normalised(example.query)))


def _written(example: Example) -> str:
    return example.query if example.family == "grounded" else " ".join((example.query, *example.positives))
