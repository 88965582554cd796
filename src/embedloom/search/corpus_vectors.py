"""Vectors of a corpus in a file, and exact search that reads them in blocks: neither has to fit into memory."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedloom.data.dense import VectorRows, encode_documents, nearest
from embedloom.records import Document, Embedder, Hit, Progress, content_id
from embedloom.run import atomic_file

if TYPE_CHECKING:
    from embedloom.records import Vectors

ENCODED_AT_ONCE = 2048
"""Documents that are encoded and written together: what a kill costs, and whose texts are in memory."""
SCORED_AT_ONCE = 8192
"""Documents whose vectors and scores are in memory at a time: 32 MiB of scores for 1,024 queries."""


class CorpusVectors:
    """Exact search by cosine over vectors that are read block by block; the best of all blocks so far are kept.

    Args:
        vectors_MD: unit vectors, shape (documents, dimension).
        documents: the corpus in the same order; asked for the ids of hits alone.
        scored_at_once: documents of one block.
    """

    def __init__(
        self, vectors_MD: VectorRows, documents: Sequence[Document], *, scored_at_once: int = SCORED_AT_ONCE
    ) -> None:
        assert len(vectors_MD) == len(documents), "one vector a document"
        self._vectors_MD = vectors_MD
        self._documents = documents
        self._scored_at_once = scored_at_once

    def nearest(self, q_QD: Vectors, k: int) -> list[list[Hit]]:
        """For each row of `q_QD` its `k` documents of highest cosine, best first; of equal ones the earlier first."""
        # All queries in one block: the file is read once for them.
        scores_QK, rows_QK = nearest(
            q_QD, self._vectors_MD, k, query_block=max(1, len(q_QD)), document_block=self._scored_at_once
        )
        ids = {int(row): self._documents[int(row)].id for row in np.unique(rows_QK)}
        return [
            [Hit(ids[int(row)], float(score)) for row, score in zip(rows, scores, strict=True)]
            for rows, scores in zip(rows_QK, scores_QK, strict=True)
        ]


def encode_corpus(
    path: Path,
    documents: Sequence[Document],
    embedder: Embedder,
    *,
    content: str,
    encoded_at_once: int = ENCODED_AT_ONCE,
    progress: Progress | None = None,
) -> CorpusVectors:
    """Encodes a corpus into the file `path`, block by block; what is in it of the same corpus and model is kept.

    Args:
        path: float32 numbers, document after document; `path` with `.json` behind it says whose they are.
        documents: the corpus; `encoded_at_once` of them are held.
        embedder: the model.
        content: hash of the corpus.
        encoded_at_once: documents encoded and written together.
        progress: told of documents, those encoded before among them.

    Raises:
        ModelError: not one unit vector for each text.
    """
    key = content_id("corpus vectors", content, embedder.fingerprint, embedder.dimension, len(documents))
    mark = path.with_name(f"{path.name}.json")
    if not path.exists() or _key(mark) != key:
        path.unlink(missing_ok=True)
        with atomic_file(mark) as file:
            json.dump({"key": key, "model": embedder.name, "dimension": embedder.dimension}, file)
    width = 4 * embedder.dimension
    with open(path, "ab") as out:
        done = min(out.tell() // width, len(documents))
        out.truncate(done * width)
        if progress is not None and done:
            progress(done)
        for start in range(done, len(documents), encoded_at_once):
            texts = [document.content for document in documents[start : start + encoded_at_once]]
            out.write(encode_documents(embedder, texts, progress=progress).astype("<f4").tobytes())
            out.flush()
            os.fsync(out.fileno())
    return CorpusVectors(_FileRows(path, len(documents), embedder.dimension), documents)


class _FileRows:
    """Vectors in a file. Not memory-mapped: pages of it would count as the process' memory until others need it."""

    def __init__(self, path: Path, count: int, dimension: int) -> None:
        self._path, self._count, self._dimension = path, count, dimension

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: slice, /) -> Vectors:
        start, stop, _ = rows.indices(self._count)
        read = np.fromfile(
            self._path, dtype="<f4", count=(stop - start) * self._dimension, offset=4 * start * self._dimension
        )
        return read.reshape(stop - start, self._dimension).astype(np.float32, copy=False)


def _key(mark: Path) -> str:
    try:
        stored = json.loads(mark.read_text(encoding="utf-8"))
        return str(stored["key"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
