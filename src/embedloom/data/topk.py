"""The k best columns of each row of a score matrix, exactly, with a rule for equal scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def top_k(scores_QM: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Columns of the `k` largest values of each row, largest first; of equal values the lower column comes first.

    Args:
        scores_QM: finite scores, shape (queries, documents).
        k: how many; at most the number of columns are returned.

    Returns:
        Column numbers, shape (queries, min(k, documents)).
    """
    columns = scores_QM.shape[1]
    k = min(k, columns)
    if k == columns:
        return np.argsort(-scores_QM, axis=1, kind="stable").astype(np.int64)
    best = np.argpartition(-scores_QM, k - 1, axis=1)[:, :k].astype(np.int64)
    # A partition takes any of the columns that tie for the last place, so the lowest of them are put in.
    last = np.take_along_axis(scores_QM, best, axis=1).min(axis=1, keepdims=True)
    tied = np.flatnonzero((scores_QM >= last).sum(axis=1) > k)
    for row in tied:
        above = np.flatnonzero(scores_QM[row] > last[row])
        level = np.flatnonzero(scores_QM[row] == last[row])
        best[row] = np.concatenate([above, level[: k - len(above)]])
    best.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores_QM, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)
