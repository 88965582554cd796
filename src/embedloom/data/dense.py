"""Exact search by cosine: an embedder and the vectors of one corpus behind the `Retriever` protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from embedloom.data.topk import top_k
from embedloom.errors import DataError, ModelError
from embedloom.records import Document, Embedder, Hit, Progress

if TYPE_CHECKING:
    from embedloom.records import Vectors

QUERY_BLOCK = 256
DOCUMENT_BLOCK = 32_768
"""Scores of one block pair take 32 MiB, whatever the size of the corpus."""


class DenseRetriever:
    """Ranks the whole corpus for each query by cosine of unit vectors in float32; no approximate index.

    Args:
        embedder: makes the vectors.
        documents: the corpus; encoded here, once.
        instruction: put before each query.
        progress: told of encoded documents.

    Raises:
        DataError: the corpus is empty.
        ModelError: the embedder returned something that isn't a unit vector for each text.
    """

    def __init__(
        self,
        embedder: Embedder,
        documents: Sequence[Document],
        *,
        instruction: str = "",
        progress: Progress | None = None,
    ) -> None:
        if not documents:
            raise DataError("the corpus is empty; there is nothing to search")
        # Equal scores are ordered by id, last first, as trec_eval does; `top_k` prefers lower columns.
        ordered = sorted(documents, key=lambda document: document.id, reverse=True)
        self._ids = [document.id for document in ordered]
        self._embedder = embedder
        self._instruction = instruction
        self._vectors_MD = encode_documents(embedder, [document.content for document in ordered], progress=progress)

    def search(self, queries: Sequence[str], k: int, *, progress: Progress | None = None) -> list[list[Hit]]:
        """For each query its `k` documents of highest cosine, best first; `progress` is told of encoded queries."""
        if not queries:
            return []
        queries_QD = encode_queries(self._embedder, queries, self._instruction, progress=progress)
        scores_QK, columns_QK = nearest(queries_QD, self._vectors_MD, k)
        return [
            [Hit(self._ids[column], float(score)) for column, score in zip(columns, scores, strict=True)]
            for columns, scores in zip(columns_QK, scores_QK, strict=True)
        ]


class VectorRows(Protocol):
    """Unit vectors that are read in slices: an array, or a file that is larger than memory."""

    def __len__(self) -> int:
        """How many vectors there are."""

    def __getitem__(self, rows: slice, /) -> Vectors:
        """The vectors of a slice of rows, shape (rows, dimension)."""


def nearest(
    queries_QD: Vectors,
    documents_MD: VectorRows,
    k: int,
    *,
    query_block: int = QUERY_BLOCK,
    document_block: int = DOCUMENT_BLOCK,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The `k` rows of `documents_MD` with the highest cosine for each row of `queries_QD`, exactly.

    Args:
        queries_QD: unit vectors, shape (queries, dimension).
        documents_MD: unit vectors, shape (documents, dimension); asked for a block at a time.
        k: how many; at most the number of documents are returned.
        query_block: queries scored at a time.
        document_block: documents scored at a time.

    Returns:
        Cosines, largest first, and row numbers, both of shape (queries, min(k, documents)). Of equal cosines the lower
        row comes first.
    """
    kept = min(k, len(documents_MD))
    scores_QK = np.empty((len(queries_QD), kept), dtype=np.float32)
    rows_QK = np.empty((len(queries_QD), kept), dtype=np.int64)
    for q in range(0, len(queries_QD), query_block):
        block_QD = queries_QD[q : q + query_block]
        scores = np.empty((len(block_QD), 0), dtype=np.float32)
        rows = np.empty((len(block_QD), 0), dtype=np.int64)
        for m in range(0, len(documents_MD), document_block):
            fresh = block_QD @ documents_MD[m : m + document_block].T
            best = top_k(fresh, kept)
            # Rows of earlier blocks stand first, so that they win ties here too.
            scores = np.concatenate([scores, np.take_along_axis(fresh, best, axis=1)], axis=1)
            rows = np.concatenate([rows, best + m], axis=1)
            chosen = top_k(scores, kept)
            scores = np.take_along_axis(scores, chosen, axis=1)
            rows = np.take_along_axis(rows, chosen, axis=1)
        scores_QK[q : q + query_block] = scores
        rows_QK[q : q + query_block] = rows
    return scores_QK, rows_QK


def encode_queries(
    embedder: Embedder, texts: Sequence[str], instruction: str, *, progress: Progress | None = None
) -> Vectors:
    """Checked unit vectors of queries, each distinct text encoded once, shape (len(texts), dimension).

    Raises:
        ModelError: not one unit vector for each text.
    """
    return _encode(
        embedder, lambda distinct: embedder.encode_queries(distinct, instruction, progress=progress), texts, progress
    )


def encode_documents(embedder: Embedder, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
    """Checked unit vectors of documents, each distinct text encoded once, shape (len(texts), dimension).

    Raises:
        ModelError: not one unit vector for each text.
    """
    return _encode(embedder, lambda distinct: embedder.encode_documents(distinct, progress=progress), texts, progress)


def _encode(
    embedder: Embedder, encode: Callable[[list[str]], Vectors], texts: Sequence[str], progress: Progress | None
) -> Vectors:
    rows: dict[str, int] = {}
    for text in texts:
        rows.setdefault(text, len(rows))
    distinct = list(rows)
    vectors = np.asarray(encode(distinct), dtype=np.float32)
    if vectors.shape != (len(distinct), embedder.dimension):
        expected = (len(distinct), embedder.dimension)
        raise ModelError(f"{embedder.name} returned vectors of shape {vectors.shape}, expected {expected}")
    lengths = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < 1e-2))
    if len(wrong):
        what = "NaN or infinite numbers" if not np.isfinite(lengths[wrong[0]]) else f"length {lengths[wrong[0]]:.3g}"
        raise ModelError(
            f"{embedder.name} returned a vector with {what} for the text {distinct[wrong[0]][:60]!r} "
            f"(and {len(wrong) - 1} more); expected unit vectors"
        )
    if progress is not None and len(texts) > len(distinct):
        progress(len(texts) - len(distinct))
    if len(texts) == len(distinct):
        return vectors
    return vectors[[rows[text] for text in texts]]
