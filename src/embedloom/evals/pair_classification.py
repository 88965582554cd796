"""Pair classification: does the cosine of two texts tell whether they belong together (MTEB's PairClassification)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedloom.data.dense import encode_queries
from embedloom.data.pairs import LabelledPair
from embedloom.evals.instructions import instruction_for
from embedloom.evals.intervals import Counts, estimate
from embedloom.evals.result import Measure, SetResult
from embedloom.evals.sts import cosines_of
from embedloom.records import Embedder, Progress


def evaluate_pair_classification(
    embedder: Embedder,
    pairs: Sequence[LabelledPair],
    *,
    task: str,
    split: str = "test",
    instruction: str | None = None,
    progress: Progress | None = None,
) -> SetResult:
    """Average precision of the cosines, and accuracy and F1 at the threshold that is best for each.

    `max_ap` is the best average precision of cosine and Manhattan distance, which MTEB's leaderboard shows: for unit
    vectors dot product and Euclidean distance order the pairs as the cosine does.

    Args:
        embedder: the model; both texts are encoded as queries: likeness knows no query side.
        pairs: texts and labels, both labels among them.
        task: the set's name.
        split: recorded with the result.
        instruction: put before the texts instead of the table's.
        progress: told of encoded texts.
    """
    started = time.monotonic()
    sentence = instruction_for(task, "pair-classification", instruction)
    texts = [pair.sentence1 for pair in pairs] + [pair.sentence2 for pair in pairs]
    both = encode_queries(embedder, texts, sentence, progress=progress)
    left_ND, right_ND = both[: len(pairs)], both[len(pairs) :]
    positive_N = np.array([pair.positive for pair in pairs])
    cosine = Thresholds(cosines_of(left_ND, right_ND), positive_N)
    manhattan = Thresholds(-np.abs(left_ND - right_ND).sum(axis=1, dtype=np.float64), positive_N)
    statistics = {
        "ap": cosine.average_precision,
        "max_ap": lambda counts: np.maximum(cosine.average_precision(counts), manhattan.average_precision(counts)),
        "accuracy": cosine.accuracy,
        "f1": cosine.f1,
    }
    once = np.ones((1, len(pairs)))
    return SetResult(
        task=task,
        family="pair-classification",
        split=split,
        measures=tuple(
            Measure(name, estimate(float(statistic(once)[0]), len(pairs), statistic))
            for name, statistic in statistics.items()
        ),
        items=cosine.shares(),
        gold=np.empty(0),
        instruction=sentence,
        count=len(pairs),
        seconds=time.monotonic() - started,
    )


class Thresholds:
    """Figures of all thresholds between scores, for each row of draw counts of the pairs.

    Pairs of one score are on the same side of every threshold, so that their order can't matter.

    Args:
        scores_N: one a pair, higher for more alike.
        positive_N: which pairs belong together.
    """

    def __init__(self, scores_N: NDArray[np.float64], positive_N: NDArray[np.bool_]) -> None:
        self._order = np.argsort(-scores_N, kind="stable")
        self._positive = positive_N[self._order].astype(np.float64)
        # Last place of each run of equal scores.
        self._ends = np.flatnonzero(np.diff(scores_N[self._order], append=-np.inf))

    def average_precision(self, counts: Counts) -> NDArray[np.float64]:
        """scikit-learn's `average_precision_score`; NaN where no positive pair was drawn."""
        right_BT, taken_BT = self._above(counts)
        gained_BT = np.diff(right_BT, axis=1, prepend=0)
        precision_BT = np.divide(right_BT, taken_BT, out=np.zeros_like(right_BT), where=taken_BT > 0)
        with np.errstate(invalid="ignore"):
            return np.asarray((gained_BT * precision_BT).sum(axis=1) / right_BT[:, -1])

    def accuracy(self, counts: Counts) -> NDArray[np.float64]:
        """Share of pairs on the right side of the best threshold between two scores (0 if there is one score)."""
        right_BT, taken_BT = self._above(counts)
        total = taken_BT[:, -1:]
        rejected_BT = (total - right_BT[:, -1:]) - (taken_BT - right_BT)
        return self._best((right_BT + rejected_BT) / total)

    def f1(self, counts: Counts) -> NDArray[np.float64]:
        """F1 at the best threshold between two scores (0 if there is one score)."""
        right_BT, taken_BT = self._above(counts)
        size_BT = taken_BT + right_BT[:, -1:]
        return self._best(np.divide(2 * right_BT, size_BT, out=np.zeros_like(right_BT), where=size_BT > 0))

    def shares(self) -> NDArray[np.float64]:
        """What each pair adds to the average precision, times the number of pairs: their mean is the figure."""
        right_T, taken_T = (rows[0] for rows in self._above(np.ones((1, len(self._order)))))
        run_N = np.searchsorted(self._ends, np.arange(len(self._order)))
        shares = np.empty(len(self._order))
        shares[self._order] = self._positive * (right_T / taken_T)[run_N] * len(self._order) / self._positive.sum()
        return shares

    def _above(self, counts: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positive pairs and pairs at or above each distinct score, shape (rows, scores)."""
        drawn_BN = counts[:, self._order]
        right_BT = np.cumsum(drawn_BN * self._positive, axis=1)[:, self._ends]
        return right_BT, np.cumsum(drawn_BN, axis=1)[:, self._ends]

    def _best(self, figures_BT: NDArray[np.float64]) -> NDArray[np.float64]:
        # MTEB's thresholds lie between two scores: all pairs on one side is none of them.
        return np.asarray(figures_BT[:, :-1].max(axis=1, initial=0.0))
