"""Figures of merit, equal to those of trec_eval and scipy; each takes plain ids or arrays and gives one value per item.

How trec_eval breaks ties, which `ranked` follows: of two documents with the same score the one whose id is larger, as
text, comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Ranking = Sequence[str]
"""Document ids, best first."""
Judged = Mapping[str, int]
"""Relevance of a query's documents. A document is relevant if its relevance is above 0; one not named is not."""


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Document ids in trec_eval's order: higher scores first, equal scores by id, last first."""
    return [identity for identity, _ in sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)]


def ndcg(rankings: Sequence[Ranking], qrels: Sequence[Judged], k: int) -> Values:
    """nDCG@k of each query (trec_eval's `ndcg_cut`): the gain is the relevance itself, discounted by log2(rank + 1).

    The ideal ranking holds all relevant documents, found or not; a query without one has 0.
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    out = np.zeros(len(rankings))
    for i, (ranking, judged) in enumerate(zip(rankings, qrels, strict=True)):
        ideal = sorted((gain for gain in judged.values() if gain > 0), reverse=True)[:k]
        if ideal:
            gains = [max(judged.get(identity, 0), 0) for identity in ranking[:k]]
            out[i] = (gains @ discounts[: len(gains)]) / (ideal @ discounts[: len(ideal)])
    return out


def recall(rankings: Sequence[Ranking], qrels: Sequence[Judged], k: int) -> Values:
    """Share of each query's relevant documents among the first k (trec_eval's `recall`); 0 if it has none."""
    out = np.zeros(len(rankings))
    for i, (ranking, judged) in enumerate(zip(rankings, qrels, strict=True)):
        relevant = _relevant(judged)
        if relevant:
            out[i] = sum(identity in relevant for identity in ranking[:k]) / len(relevant)
    return out


def reciprocal_rank(rankings: Sequence[Ranking], qrels: Sequence[Judged], k: int | None = None) -> Values:
    """1 / rank of each query's first relevant document (trec_eval's `recip_rank`), 0 if none is among the first k."""
    out = np.zeros(len(rankings))
    for i, (ranking, judged) in enumerate(zip(rankings, qrels, strict=True)):
        relevant = _relevant(judged)
        out[i] = next((1 / rank for rank, identity in enumerate(ranking[:k], 1) if identity in relevant), 0.0)
    return out


def average_precision(rankings: Sequence[Ranking], qrels: Sequence[Judged]) -> Values:
    """Average precision of each query (trec_eval's `map`): the precisions at its relevant documents, summed, over their
    number; those that weren't found count 0."""
    out = np.zeros(len(rankings))
    for i, (ranking, judged) in enumerate(zip(rankings, qrels, strict=True)):
        relevant = _relevant(judged)
        found, total = 0, 0.0
        for rank, identity in enumerate(ranking, 1):
            if identity in relevant:
                found += 1
                total += found / rank
        out[i] = total / len(relevant) if relevant else 0.0
    return out


def average_ranks(values: NDArray[np.floating]) -> Values:
    """Ranks from 1; equal values share the mean of their ranks (scipy's `rankdata`)."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return np.asarray((last - (sizes - 1) / 2)[group], dtype=np.float64)


def spearman(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    """Spearman's rank correlation, ties by their mean rank (scipy's `spearmanr`); NaN if either side is constant."""
    x, y = average_ranks(left), average_ranks(right)
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else float("nan")


def accuracy(predicted: NDArray[np.generic], expected: NDArray[np.generic]) -> Values:
    """1 for each item predicted right, else 0."""
    return np.asarray(predicted == expected, dtype=np.float64)


def bitext_f1(predicted: NDArray[np.int64]) -> Values:
    """F1 of each pair as MTEB weighs it for bitext: pair n's own class is "line n", so a match that several lines claim
    counts less.

    Args:
        predicted: for line n of one side, the line of the other side that it was matched with; right is n.

    Returns:
        2 / (1 + lines that were matched with n) where line n was matched with n, else 0. The mean equals
        scikit-learn's weighted `f1_score`.
    """
    claims = np.bincount(predicted, minlength=len(predicted))
    right = predicted == np.arange(len(predicted))
    return np.where(right, 2 / (1 + claims[: len(predicted)]), 0.0)


def _relevant(judged: Judged) -> set[str]:
    return {identity for identity, gain in judged.items() if gain > 0}
