"""Bootstrap intervals: how far a figure would move had other queries or pairs been drawn.

A resample of n items is kept as how often each item was drawn, so that a mean is one matrix product and Spearman's
ranks are one running sum; nothing is sorted again. Intervals are the 2.5 and 97.5 percentiles over the resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedloom.evals.metrics import spearman

RESAMPLES = 2_000
BLOCK = 1 << 20
"""Counts held at a time: resamples in a block x items."""

Counts = NDArray[np.float64]
"""How often each item was drawn, shape (resamples in the block, items)."""
Statistic = Callable[[Counts], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is a figure: a correlation with a constant has none."""
        return math.isfinite(self.value)

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends of the interval."""
        return self.low, self.high


def mean_estimate(values: NDArray[np.float64], *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The mean of per-item values and its interval."""
    if not len(values):
        raise ValueError("a mean needs at least one value")
    return estimate(float(values.mean()), len(values), lambda counts: counts @ values / len(values), resamples, seed)


def difference_estimate(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """The mean of ours - theirs, item by item: paired, so that what makes an item hard for both doesn't widen it.

    Args:
        ours: one value per item.
        theirs: values of the same items in the same order.
        resamples: how many.
        seed: of the draws.
    """
    _same_items(ours, theirs)
    return mean_estimate(ours - theirs, resamples=resamples, seed=seed)


def spearman_estimate(
    gold: NDArray[np.float64], scores: NDArray[np.float64], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Spearman's correlation of two columns and its interval over rows."""
    _same_items(gold, scores)
    x, y = _Ranks(gold), _Ranks(scores)
    value = spearman(gold, scores)
    return estimate(value, len(gold), lambda counts: _correlation(counts, x(counts), y(counts)), resamples, seed)


def spearman_difference(
    gold: NDArray[np.float64],
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Spearman(gold, ours) - Spearman(gold, theirs) and its interval, both on the same resampled rows."""
    _same_items(gold, ours)
    _same_items(gold, theirs)
    x, y, z = _Ranks(gold), _Ranks(ours), _Ranks(theirs)

    def difference(counts: Counts) -> NDArray[np.float64]:
        gold_ranks = x(counts)
        return _correlation(counts, gold_ranks, y(counts)) - _correlation(counts, gold_ranks, z(counts))

    return estimate(spearman(gold, ours) - spearman(gold, theirs), len(gold), difference, resamples, seed)


def estimate(value: float, items: int, statistic: Statistic, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """A figure with the interval of any statistic that can be computed from draw counts.

    Args:
        value: the figure on the items themselves.
        items: how many there are.
        statistic: gives the figure for each row of counts.
        resamples: how many; resample i is the same for the same (items, seed).
        seed: of the draws.
    """
    return interval_of(value, resampled(items, statistic, resamples, seed))


def resampled(items: int, statistic: Statistic, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.float64]:
    """The figure of each resample; of a statistic with several columns, shape (resamples, columns)."""
    return np.concatenate([statistic(counts) for counts in _draws(items, resamples, seed)])


def interval_of(value: float, drawn: NDArray[np.float64]) -> Estimate:
    """A figure with the interval that its resamples span."""
    # A resample in which one side is constant has no correlation; it says nothing about the spread.
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def resampled_means(
    columns: Sequence[NDArray[np.float64]], *, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """Means of several columns of values of the same items, all on the same resamples: shape (resamples, columns)."""
    table_NC = np.stack(columns, axis=1)
    return resampled(len(table_NC), lambda counts: counts @ table_NC / len(table_NC), resamples, seed)


def resampled_spearman(
    gold: NDArray[np.float64], columns: Sequence[NDArray[np.float64]], *, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """Spearman's correlations of several columns with `gold`, all on the same resamples: shape (resamples, columns)."""
    ranks_of_gold, ranks = _Ranks(gold), [_Ranks(column) for column in columns]

    def statistic(counts: Counts) -> NDArray[np.float64]:
        x = ranks_of_gold(counts)
        return np.stack([_correlation(counts, x, one(counts)) for one in ranks], axis=1)

    return resampled(len(gold), statistic, resamples, seed)


def _draws(items: int, resamples: int, seed: int) -> Iterator[Counts]:
    generator = np.random.default_rng(seed)
    rows = max(1, BLOCK // items)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = generator.integers(0, items, size=(count, items))
        drawn += np.arange(count)[:, None] * items
        yield np.bincount(drawn.ravel(), minlength=count * items).reshape(count, items).astype(np.float64)


class _Ranks:
    """Mean ranks of a column's items inside a resample, from draw counts alone."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        _, self._group = np.unique(values, return_inverse=True)
        self._order = np.argsort(self._group, kind="stable")
        self._starts = np.flatnonzero(np.diff(self._group[self._order], prepend=-1))

    def __call__(self, counts: Counts) -> NDArray[np.float64]:
        sizes = np.add.reduceat(counts[:, self._order], self._starts, axis=1)
        ranks = np.cumsum(sizes, axis=1) - (sizes - 1) / 2
        return np.asarray(ranks[:, self._group], dtype=np.float64)


def _correlation(counts: Counts, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    # The mean of n average ranks is (n + 1) / 2, whatever was drawn.
    middle = (counts.shape[1] + 1) / 2
    x, y = x - middle, y - middle
    weighted = counts * x
    scale = np.sqrt((weighted * x).sum(axis=1) * (counts * y * y).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((weighted * y).sum(axis=1) / scale, dtype=np.float64)


def _same_items(left: NDArray[np.float64], right: NDArray[np.float64]) -> None:
    if left.shape != right.shape or not len(left):
        raise ValueError(f"expected values of the same items, got {left.shape} and {right.shape}")
