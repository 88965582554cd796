"""Retrieval: nDCG@10, recall and MRR of a full ranking of the corpus (MTEB's Retrieval, BEIR)."""

from __future__ import annotations

import time

import numpy as np

from embedloom.data.beir import RetrievalSet
from embedloom.data.dense import DenseRetriever
from embedloom.evals import metrics
from embedloom.evals.instructions import instruction_for
from embedloom.evals.intervals import mean_estimate
from embedloom.evals.result import Measure, SetResult
from embedloom.records import Embedder, Progress, Retriever

DEPTH = 100
"""Documents that are fetched for a query: the deepest cut-off that is reported."""


def evaluate_retrieval(
    embedder: Embedder,
    retrieval: RetrievalSet,
    *,
    instruction: str | None = None,
    skip_same_id: bool = False,
    progress: Progress | None = None,
) -> SetResult:
    """Exact search with an embedder; only queries carry the instruction.

    Args:
        embedder: the model.
        retrieval: corpus, queries and qrels.
        instruction: put before each query instead of the table's.
        skip_same_id: leave a document out of the ranking of the query that has its id, as MTEB does in sets whose
            queries are documents of the corpus (ArguAna, Quora).
        progress: told of encoded texts, documents and queries alike.
    """
    started = time.monotonic()
    sentence = instruction_for(retrieval.name, "retrieval", instruction)
    retriever = DenseRetriever(embedder, retrieval.corpus, instruction=sentence, progress=progress)
    return _evaluate(retriever, retrieval, sentence, started, progress, skip_same_id)


def evaluate_retriever(
    retriever: Retriever, retrieval: RetrievalSet, *, skip_same_id: bool = False, progress: Progress | None = None
) -> SetResult:
    """Any search over the set's corpus, BM25 for instance, with the same measures; `progress` is told of queries."""
    return _evaluate(retriever, retrieval, "", time.monotonic(), progress, skip_same_id)


def _evaluate(
    retriever: Retriever,
    retrieval: RetrievalSet,
    instruction: str,
    started: float,
    progress: Progress | None,
    skip_same_id: bool,
) -> SetResult:
    found = retriever.search(list(retrieval.queries.values()), DEPTH + skip_same_id, progress=progress)
    rankings = [
        [hit.document_id for hit in hits if not (skip_same_id and hit.document_id == query)][:DEPTH]
        for query, hits in zip(retrieval.queries, found, strict=True)
    ]
    qrels = [retrieval.qrels[identity] for identity in retrieval.queries]
    values = {
        "ndcg@10": metrics.ndcg(rankings, qrels, 10),
        "recall@10": metrics.recall(rankings, qrels, 10),
        "recall@100": metrics.recall(rankings, qrels, 100),
        "mrr@10": metrics.reciprocal_rank(rankings, qrels, 10),
    }
    return SetResult(
        task=retrieval.name,
        family="retrieval",
        split=retrieval.split,
        measures=tuple(Measure(name, mean_estimate(per_query)) for name, per_query in values.items()),
        items=values["ndcg@10"],
        gold=np.empty(0),
        instruction=instruction,
        count=len(rankings),
        seconds=time.monotonic() - started,
    )
