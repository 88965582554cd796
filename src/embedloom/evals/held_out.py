"""Training rows that were held out: does each query find its own positives among the texts of all of them?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from embedloom.data.dense import encode_documents, encode_queries
from embedloom.evals import metrics
from embedloom.evals.intervals import mean_estimate
from embedloom.evals.result import Measure, SetResult

if TYPE_CHECKING:
    from embedloom.records import Embedder, Example, Progress

TASK = "held-out rows"
DEPTH = 10


def evaluate_held_out(embedder: Embedder, rows: Sequence[Example], *, progress: Progress | None = None) -> SetResult:
    """nDCG@10 of each row's positives among the positives and hard negatives of all rows.

    Args:
        embedder: the model.
        rows: each under its own instruction, as in training.
        progress: told of encoded texts.
    """
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
        split="dev",
        measures=(Measure("ndcg@10", mean_estimate(values)),),
        items=values,
        gold=np.empty(0),
        instruction="",
        count=len(rows),
        seconds=time.monotonic() - started,
    )
