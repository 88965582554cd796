"""Searches by training rows: BM25, or an embedder that puts each row's own instruction before its query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from embedloom.data.dense import encode_documents, encode_queries
from embedloom.records import Embedder, Example, Hit, Progress

if TYPE_CHECKING:
    from embedloom.data.lexical import BM25
    from embedloom.records import Vectors


class LexicalRows:
    """BM25 by training rows; an instruction has no use for it."""

    def __init__(self, retriever: BM25) -> None:
        self._retriever = retriever

    def search(self, rows: Sequence[Example], k: int, *, progress: Progress | None = None) -> list[list[Hit]]:
        """For each row the `k` best documents that share a word with its query, best first."""
        return self._retriever.search([row.query for row in rows], k, progress=progress)

    def scores(self, pairs: Sequence[tuple[Example, str]]) -> list[float]:
        """BM25 of each text for its row's query, as if it were a document of the corpus."""
        return self._retriever.scores([(row.query, text) for row, text in pairs])


class DenseRows:
    """Exact search by cosine with a training row's query under the row's instruction.

    Args:
        embedder: the model of the corpus' vectors.
        nearest: for unit vectors of queries, shape (queries, dimension), and k: each query's k nearest documents.
    """

    def __init__(self, embedder: Embedder, nearest: Callable[[Vectors, int], list[list[Hit]]]) -> None:
        self._embedder = embedder
        self._nearest = nearest
        self._last: dict[tuple[str, str], Vectors] = {}

    def search(self, rows: Sequence[Example], k: int, *, progress: Progress | None = None) -> list[list[Hit]]:
        """For each row the `k` documents of highest cosine, best first."""
        q_QD = self._queries(rows, progress)
        # Kept until the next search: the positives that it did not find are scored behind it.
        self._last = {(row.instruction, row.query): q_D for row, q_D in zip(rows, q_QD, strict=True)}
        return self._nearest(q_QD, k) if rows else []

    def scores(self, pairs: Sequence[tuple[Example, str]]) -> list[float]:
        """The cosine of each text and its row's query."""
        if not pairs:
            return []
        rows = [row for row, _ in pairs]
        unknown = [row for row in rows if (row.instruction, row.query) not in self._last]
        made = {(row.instruction, row.query): q_D for row, q_D in zip(unknown, self._queries(unknown), strict=True)}
        lookup = self._last | made
        q_ND = np.stack([lookup[row.instruction, row.query] for row in rows])
        d_ND = encode_documents(self._embedder, [text for _, text in pairs])
        return [float(score) for score in np.einsum("nd,nd->n", q_ND, d_ND)]

    def _queries(self, rows: Sequence[Example], progress: Progress | None = None) -> Vectors:
        q_QD = np.empty((len(rows), self._embedder.dimension), dtype=np.float32)
        places: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            places.setdefault(row.instruction, []).append(place)
        for instruction, own in places.items():
            texts = [rows[place].query for place in own]
            q_QD[own] = encode_queries(self._embedder, texts, instruction, progress=progress)
        return q_QD
