"""Training rows that were held out: does each query find its own positives, do cosines follow the scores?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedloom.data.dense import encode_documents, encode_queries
from embedloom.evals import metrics
from embedloom.evals.intervals import mean_estimate, spearman_estimate
from embedloom.evals.result import Measure, SetResult
from embedloom.evals.sts import similarities

if TYPE_CHECKING:
    from embedloom.records import Embedder, Example, Progress

TASK = "held-out rows"
DEPTH = 10
SPLIT = "dev"


def evaluate_held_out(
    embedder: Embedder, rows: Sequence[Example], *, progress: Progress | None = None
) -> list[SetResult]:
    """Measures rows under their own instructions: as retrieval, and as STS where they have scores.

    Rows with scores are compared within their family, whose scores are on one scale. A family whose rows all have the
    same score says nothing about order: these are searched as the others are.

    Args:
        embedder: the model.
        rows: held out of the training.
        progress: told of encoded texts.

    Returns:
        nDCG@10 of each row's positives among the positives and hard negatives of all rows that are searched, if any;
        then Spearman's correlation for each family with scores.
    """
    families: dict[str, list[Example]] = {}
    for row in rows:
        if row.high_score is not None:
            families.setdefault(row.family, []).append(row)
    graded = {family: own for family, own in families.items() if len({pair[2] for pair in _pairs(own)}) > 1}
    searched = [row for row in rows if row.high_score is None or row.family not in graded]
    found = [_searched(embedder, searched, progress)] if searched else []
    return found + [_ordered(embedder, family, own, progress) for family, own in graded.items()]


def _searched(embedder: Embedder, rows: Sequence[Example], progress: Progress | None) -> SetResult:
    started = time.monotonic()
    texts = list(dict.fromkeys(text for row in rows for text in (*row.positives, *row.negatives)))
    documents_MD = encode_documents(embedder, texts, progress=progress)
    names = [str(place) for place in range(len(texts))]
    place_of = dict(zip(texts, names, strict=True))
    rankings: list[list[str]] = [[] for _ in rows]
    for instruction in dict.fromkeys(row.instruction for row in rows):
        own = [number for number, row in enumerate(rows) if row.instruction == instruction]
        queries_ND = encode_queries(embedder, [rows[number].query for number in own], instruction, progress=progress)
        for number, scores_M in zip(own, queries_ND @ documents_MD.T, strict=True):
            rankings[number] = [names[place] for place in np.argsort(-scores_M, kind="stable")[:DEPTH]]
    judged = [{place_of[text]: 1 for text in row.positives} for row in rows]
    values = metrics.ndcg(rankings, judged, DEPTH)
    return SetResult(
        task=TASK,
        family="retrieval",
        split=SPLIT,
        measures=(Measure("ndcg@10", mean_estimate(values)),),
        items=values,
        gold=np.empty(0),
        instruction="",
        count=len(rows),
        seconds=time.monotonic() - started,
    )


def _ordered(embedder: Embedder, family: str, rows: Sequence[Example], progress: Progress | None) -> SetResult:
    started = time.monotonic()
    gold: list[NDArray[np.float64]] = []
    cosines: list[NDArray[np.float64]] = []
    for instruction in dict.fromkeys(row.instruction for row in rows):
        left, right, scores = zip(*_pairs(row for row in rows if row.instruction == instruction), strict=True)
        cosines.append(similarities(embedder, left, right, instruction, progress=progress))
        gold.append(np.array(scores, dtype=np.float64))
    scores_P, cosines_P = np.concatenate(gold), np.concatenate(cosines)
    return SetResult(
        task=f"{TASK}: {family or 'scores'}",
        family="sts",
        split=SPLIT,
        measures=(Measure("spearman", spearman_estimate(scores_P, cosines_P)),),
        items=cosines_P,
        gold=scores_P,
        instruction="",
        count=len(scores_P),
        seconds=time.monotonic() - started,
    )


def _pairs(rows: Iterable[Example]) -> list[tuple[str, str, float]]:
    """Every two texts that have a score: a query with its positives, and with its negatives."""
    sides = [(row.query, ((row.positives, row.high_score), (row.negatives, row.low_score))) for row in rows]
    return [(query, text, score) for query, own in sides for texts, score in own if score is not None for text in texts]
