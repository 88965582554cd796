"""Reranking: the positives of a query ahead of its negatives (MTEB's Reranking)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from embedloom.data.candidates import Candidates
from embedloom.data.dense import encode_documents, encode_queries
from embedloom.evals import metrics
from embedloom.evals.instructions import instruction_for
from embedloom.evals.intervals import mean_estimate
from embedloom.evals.result import Measure, SetResult
from embedloom.records import Embedder, Progress


def evaluate_reranking(
    embedder: Embedder,
    rows: Sequence[Candidates],
    *,
    task: str,
    split: str = "test",
    instruction: str | None = None,
    progress: Progress | None = None,
) -> SetResult:
    """Orders each query's candidates by cosine; of equal cosines the negative comes first, so that ties earn nothing.

    Args:
        embedder: the model.
        rows: queries with positives and negatives.
        task: the set's name.
        split: recorded with the result.
        instruction: put before each query instead of the table's.
        progress: told of encoded texts.
    """
    started = time.monotonic()
    sentence = instruction_for(task, "reranking", instruction)
    queries_QD = encode_queries(embedder, [row.query for row in rows], sentence, progress=progress)
    texts = [text for row in rows for text in (*row.negatives, *row.positives)]
    texts_MD = encode_documents(embedder, texts, progress=progress)
    rankings, qrels = [], []
    start = 0
    for row, query_D in zip(rows, queries_QD, strict=True):
        size = len(row.negatives) + len(row.positives)
        cosines = texts_MD[start : start + size] @ query_D
        start += size
        rankings.append([str(position) for position in np.argsort(-cosines, kind="stable")])
        qrels.append({str(position): 1 for position in range(len(row.negatives), size)})
    values = {
        "map": metrics.average_precision(rankings, qrels),
        "mrr@10": metrics.reciprocal_rank(rankings, qrels, 10),
        "ndcg@10": metrics.ndcg(rankings, qrels, 10),
    }
    return SetResult(
        task=task,
        family="reranking",
        split=split,
        measures=tuple(Measure(name, mean_estimate(per_query)) for name, per_query in values.items()),
        items=values["map"],
        gold=np.empty(0),
        instruction=sentence,
        count=len(rows),
        seconds=time.monotonic() - started,
    )
