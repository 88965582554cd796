"""Semantic similarity: Spearman's correlation of cosines with people's scores (MTEB's STS)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedloom.data.dense import encode_documents, encode_queries
from embedloom.data.pairs import ScoredPair
from embedloom.evals.instructions import instruction_for
from embedloom.evals.intervals import spearman_estimate
from embedloom.evals.result import Measure, SetResult
from embedloom.records import Embedder, Progress

if TYPE_CHECKING:
    from embedloom.records import Vectors


def evaluate_sts(
    embedder: Embedder,
    pairs: Sequence[ScoredPair],
    *,
    task: str,
    split: str = "test",
    instruction: str | None = None,
    instruct_both: bool = True,
    progress: Progress | None = None,
) -> SetResult:
    """Cosines of the pairs against their scores.

    Args:
        embedder: the model.
        pairs: sentences and scores.
        task: the set's name.
        split: recorded with the result.
        instruction: put before the sentences instead of the table's.
        instruct_both: whether both sentences carry the instruction, as published evaluations of instructed models have
            it: similarity knows no query side, and equal sentences must have cosine 1. Otherwise only the first does,
            as in training (paper, section 2).
        progress: told of encoded sentences.
    """
    started = time.monotonic()
    sentence = instruction_for(task, "sts", instruction)
    left, right = [pair.sentence1 for pair in pairs], [pair.sentence2 for pair in pairs]
    cosines = similarities(embedder, left, right, sentence, instruct_both=instruct_both, progress=progress)
    gold = np.array([pair.score for pair in pairs], dtype=np.float64)
    return SetResult(
        task=task,
        family="sts",
        split=split,
        measures=(Measure("spearman", spearman_estimate(gold, cosines)),),
        items=cosines,
        gold=gold,
        instruction=sentence,
        count=len(pairs),
        seconds=time.monotonic() - started,
    )


def similarities(
    embedder: Embedder,
    left: Sequence[str],
    right: Sequence[str],
    instruction: str,
    *,
    instruct_both: bool = True,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Cosines of corresponding sentences, shape (len(left),); arguments as for `evaluate_sts`."""
    if instruct_both:
        both_ND = encode_queries(embedder, [*left, *right], instruction, progress=progress)
        return cosines_of(both_ND[: len(left)], both_ND[len(left) :])
    left_ND = encode_queries(embedder, left, instruction, progress=progress)
    return cosines_of(left_ND, encode_documents(embedder, right, progress=progress))


def cosines_of(left_ND: Vectors, right_ND: Vectors) -> NDArray[np.float64]:
    """Cosines of corresponding unit vectors, from their distances: equal vectors have exactly 1.

    Pairs of equal sentences therefore tie, as in MTEB, instead of being ordered by how their lengths were rounded.
    """
    apart_ND = left_ND.astype(np.float64) - right_ND
    return np.asarray(1 - np.einsum("nd,nd->n", apart_ND, apart_ND) / 2)
