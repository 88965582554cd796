"""One ranking of several: reciprocal rank fusion, which needs no common scale of their scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from embedloom.records import Hit

CONSTANT = 60
"""Of Cormack, Clarke and Buettcher (SIGIR 2009): how much less the first ranks stand out."""


def fuse(rankings: Sequence[Sequence[Hit]], k: int, *, constant: int = CONSTANT) -> list[Hit]:
    """The `k` documents with the highest sum of 1 / (constant + rank), ranks from 1; equal ones by id, last first.

    Args:
        rankings: of the same query, each best first.
        k: how many.
        constant: see `CONSTANT`.
    """
    scores: defaultdict[str, float] = defaultdict(float)
    for ranking in rankings:
        for rank, hit in enumerate(ranking, 1):
            scores[hit.document_id] += 1 / (constant + rank)
    best = sorted(scores.items(), key=lambda pair: (pair[1], pair[0]), reverse=True)
    return [Hit(identity, score) for identity, score in best[:k]]
