"""The vector index: documents and their unit vectors in a table that knows which model made them.

The model's fingerprint stands beside the vectors and is compared on every query and every change, so that vectors of
two models never meet. An exact index gives the order of brute force; another kind reads smaller or fewer vectors first,
and the best of those are ranked by the full ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from embedloom.errors import DataError
from embedloom.records import Document, Embedder, Hit, Progress
from embedloom.search.collection import BATCH, Collection
from embedloom.search.fusion import fuse
from embedloom.search.kinds import IndexKind
from embedloom.search.store import Store
from embedloom.search.table import IndexedModel, unit_vectors
from embedloom.search.tags import Condition, checked

if TYPE_CHECKING:
    from embedloom.records import Vectors

QUERIES_AT_ONCE = 64
CANDIDATES_AT_ONCE = 1 << 16
SLACK = 8
RESCORED = 10
"""Candidates of an approximate search that are ranked by their full vectors, for each hit that is asked for."""
RESCORED_OF_COARSE = 40
"""As many where what is read first says little of a vector: its product codes or its signs."""
FUSED = 10
"""Ranks that hybrid search takes of each ranking, for each hit that is asked for."""
MODES = ("vectors", "words", "hybrid")
POSTGRES = ("postgresql://", "postgres://")


def create_index(
    path: str | os.PathLike[str],
    documents: Iterable[Document],
    embedder: Embedder,
    *,
    instruction: str = "",
    kind: IndexKind | None = None,
    vectors: Vectors | None = None,
    batch_size: int = BATCH,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> VectorIndex:
    """Builds an index that appears at `path` whole: a kill leaves the old index, or none, never half of one.

    Args:
        path: a folder, a URI of an object store (`s3://bucket/folder`), or `postgresql://HOST/DATABASE?index=NAME`.
        documents: the corpus, `TaggedDocument` for columns; read once, held `batch_size` at a time.
        embedder: the model of the vectors.
        instruction: the instruction that queries get when none is given.
        kind: how it is searched; exact if left out.
        vectors: unit vectors of `documents` that `embedder` made before, shape (documents, dimension); without, it is
            asked for them.
        batch_size: documents encoded and written together.
        overwrite: replace an index that stands at `path`.
        progress: called with the number of documents encoded.

    Raises:
        DataError: no document, an id twice, `path` taken, a kind that there isn't, or `vectors` that don't belong to
            `documents`.
        ModelError: vectors that are not unit vectors of the embedder's dimension.
    """
    model = IndexedModel(embedder.name, embedder.fingerprint, embedder.dimension, instruction)
    place, kind = os.fspath(path), kind or IndexKind()
    with _created(place, model, kind, overwrite) as store:
        index = VectorIndex(store)
        if index.add(documents, embedder, vectors=vectors, batch_size=batch_size, progress=progress) == 0:
            raise DataError("the corpus is empty; expected at least one document", place)
        store.build()
    return open_index(place)


def open_index(path: str | os.PathLike[str]) -> VectorIndex:
    """Opens an index by its name, as for `create_index`.

    Raises:
        DataError: there is none, or it was not made by embedloom.
    """
    place = os.fspath(path)
    if place.startswith(POSTGRES):
        from embedloom.search.postgres_store import open_postgres

        return VectorIndex(open_postgres(place))
    from embedloom.search.lance_store import open_lance

    return VectorIndex(open_lance(place))


class VectorIndex(Collection):
    """An open index; made by `create_index` and `open_index`."""

    def search(
        self,
        queries: Sequence[str],
        embedder: Embedder,
        instruction: str | None = None,
        k: int = 10,
        *,
        mode: str = "vectors",
        where: Sequence[Condition] = (),
        probes: int = 0,
        exact: bool = False,
        progress: Progress | None = None,
    ) -> list[list[Hit]]:
        """For each query its `k` best documents, best first; equal scores by id, last first.

        Args:
            queries: the texts.
            embedder: the model; must be the one that made the index.
            instruction: the queries' instruction; the index's own if None.
            k: how many hits a query; fewer only where fewer documents meet `where` or, for words, share one.
            mode: `vectors` (score: the cosine), `words` (the store's full-text search), or `hybrid`, the reciprocal
                rank fusion of both.
            where: conditions on tags that all must hold.
            probes: how widely an approximate index looks; 0 is its own choice.
            exact: read every full vector, whatever the kind.
            progress: called with the number of queries encoded.

        Raises:
            FingerprintError: another model made the index.
            DataError: `k` below 1, an unknown column, or words where the index has no full-text search.
        """
        self.check(embedder)
        if mode not in MODES:
            raise DataError(f"unknown search {mode!r}; expected {', '.join(MODES)}")
        instruction = self.model.instruction if instruction is None else instruction
        if not queries:
            return []
        if mode == "words":
            return self.search_words(queries, k, where=where)
        deep = k if mode == "vectors" else FUSED * k
        q_QD = embedder.encode_queries(queries, instruction, progress=progress)
        by_vectors = self.search_vectors(q_QD, deep, where=where, probes=probes, exact=exact)
        if mode == "vectors":
            return by_vectors
        by_words = self.search_words(queries, deep, where=where)
        return [fuse(pair, k) for pair in zip(by_vectors, by_words, strict=True)]

    def search_vectors(
        self,
        query_vectors: Vectors,
        k: int = 10,
        *,
        where: Sequence[Condition] = (),
        probes: int = 0,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """As `search` by vectors that the index's model made before, shape (queries, dimension).

        With `exact` every full vector is read, whatever the kind.
        """
        if k < 1:
            raise DataError(f"k is {k}; expected 1 or more hits a query")
        conditions = checked(where, self.kind.columns)
        q_QD = unit_vectors(query_vectors, len(query_vectors), self.model)
        exact = exact or self.kind.whole
        total = self.store.count(conditions)
        hits: list[list[Hit]] = [[] for _ in q_QD]
        rescored = RESCORED_OF_COARSE if self.kind.coarse else RESCORED
        limit = min(k + SLACK if exact else rescored * k, total)
        todo = list(range(len(q_QD))) if total else []
        while todo:
            at_once = max(1, min(QUERIES_AT_ONCE, CANDIDATES_AT_ONCE // limit))
            unsure: list[int] = []
            for start in range(0, len(todo), at_once):
                rows = todo[start : start + at_once]
                found = self.store.nearest(q_QD[rows], limit, conditions, exact=exact, probes=probes)
                for row, candidates in zip(rows, found, strict=True):
                    hits[row], complete = candidates.best(q_QD[row], min(k, total))
                    if exact and not complete and limit < total:
                        unsure.append(row)
            todo, limit = unsure, min(limit * 4, total)
        return hits

    def search_words(self, queries: Sequence[str], k: int = 10, *, where: Sequence[Condition] = ()) -> list[list[Hit]]:
        """For each query the `k` best documents that share a word with it, as the store ranks them, best first."""
        if k < 1:
            raise DataError(f"k is {k}; expected 1 or more hits a query")
        if not self.kind.words:
            what = "was made without full-text search; build it again with: embedloom index ... --words english"
            raise DataError(what, self.path)
        conditions = checked(where, self.kind.columns)
        return [self.store.words(query, k, conditions) for query in queries]


def _created(place: str, model: IndexedModel, kind: IndexKind, overwrite: bool) -> AbstractContextManager[Store]:
    if place.startswith(POSTGRES):
        from embedloom.search.postgres_store import create_postgres

        return create_postgres(place, model, kind, overwrite=overwrite)
    from embedloom.search.lance_store import create_lance

    return create_lance(place, model, kind, overwrite=overwrite)
