"""What an evaluation of one set says: its measures with intervals, and what a paired comparison needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedloom.errors import DataError
from embedloom.evals.intervals import Estimate, difference_estimate, spearman_difference
from embedloom.records import Score


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a set, such as ndcg@10, with its interval."""

    name: str
    estimate: Estimate


@dataclass(frozen=True)
class SetResult:
    """One model on one set.

    Attributes:
        task: the set's name.
        family: retrieval, sts, bitext, reranking, classification, clustering or pair-classification.
        split: test, unless another was asked for.
        measures: figures with intervals, the main one first.
        items: one value per item behind the main measure: for `sts` the cosines, else values whose mean it is.
        gold: the people's scores of the items (`sts` alone), else empty.
        instruction: what stood before the queries.
        count: queries, pairs or texts.
        seconds: time for everything, encoding included.
        limit: which part of the set was measured; "" for all of it.
    """

    task: str
    family: str
    split: str
    measures: tuple[Measure, ...]
    items: NDArray[np.float64]
    gold: NDArray[np.float64]
    instruction: str
    count: int
    seconds: float
    limit: str = ""

    @property
    def main(self) -> Measure:
        """The measure that the field reports for this family."""
        return self.measures[0]

    def scores(self, *, model: str = "", fingerprint: str = "", baseline: str = "") -> list[Score]:
        """The figures as records, the main measure first."""
        return [
            Score(
                task=self.task,
                metric=measure.name,
                value=measure.estimate.value,
                interval=measure.estimate.interval,
                count=self.count,
                seconds=round(self.seconds, 3),
                model=model,
                fingerprint=fingerprint,
                instruction=self.instruction,
                split=self.split,
                baseline=baseline,
                limit=self.limit,
            )
            for measure in self.measures
        ]


def paired_difference(ours: SetResult, theirs: SetResult) -> Estimate:
    """Main measure of ours - theirs with the interval of the paired difference.

    Raises:
        DataError: the results are of different sets.
    """
    one, other = ((r.task, r.family, r.split, r.limit, r.count) for r in (ours, theirs))
    same = one == other
    if not same or not np.array_equal(ours.gold, theirs.gold) or ours.items.shape != theirs.items.shape:
        raise DataError(
            f"results of {ours.task} ({ours.split}, {ours.count}) and {theirs.task} ({theirs.split}, {theirs.count}) "
            f"can't be compared item by item; evaluate both models on the same set"
        )
    if len(ours.gold):
        return spearman_difference(ours.gold, ours.items, theirs.items)
    return difference_estimate(ours.items, theirs.items)
