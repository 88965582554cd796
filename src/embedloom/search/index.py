"""The vector index: documents and their unit vectors in an embedded LanceDB table that knows which model made them.

The model's fingerprint stands in the table's schema metadata and is compared on every query and every append, so that
vectors of two models never meet. Search reads every vector (no approximation): for what fits one machine that is exact
and fast enough, and the order is the one that brute force gives.
"""

from __future__ import annotations

import fcntl
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedloom.errors import DataError, FingerprintError
from embedloom.records import Document, Embedder, Hit, Progress
from embedloom.run import atomic_folder
from embedloom.search.table import TABLE, IndexedModel, stored_model, table_rows, table_schema, unit_vectors

if TYPE_CHECKING:
    from embedloom.records import Vectors

BATCH = 2048
"""Documents that are encoded and committed together."""
QUERIES_AT_ONCE = 64
CANDIDATES_AT_ONCE = 1 << 16
SLACK = 8
NEAR = 1e-5
"""Distances of float32 that differ by less may stand in either order: more than the rounding of any summation order."""


def create_index(
    path: str | os.PathLike[str],
    documents: Iterable[Document],
    embedder: Embedder,
    *,
    instruction: str = "",
    vectors: Vectors | None = None,
    batch_size: int = BATCH,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> VectorIndex:
    """Builds an index beside `path` and renames it there: a kill leaves the old index, or none, never half of one.

    Args:
        path: the folder to make.
        documents: the corpus; read once, held `batch_size` at a time.
        embedder: the model of the vectors.
        instruction: the instruction that queries get when none is given.
        vectors: unit vectors of `documents` that `embedder` made before, shape (documents, dimension); without, it is
            asked for them.
        batch_size: documents encoded and written together.
        overwrite: replace an index that stands at `path`.
        progress: called with the number of documents encoded.

    Raises:
        DataError: no document, an id twice, `path` taken, or `vectors` that don't belong to `documents`.
        ModelError: vectors that are not unit vectors of the embedder's dimension.
    """
    place = Path(path)
    if place.exists() and not _holds_index(place):
        raise DataError("is there and no index; choose another place", place)
    if place.exists() and not overwrite:
        raise DataError("an index stands there; add to it, ask to overwrite it, or choose another place", place)
    model = IndexedModel(embedder.name, embedder.fingerprint, embedder.dimension, instruction)
    with atomic_folder(place) as partial:
        index = VectorIndex(partial, _connect(partial).create_table(TABLE, schema=table_schema(model)), model)
        if index.add(documents, embedder, vectors=vectors, batch_size=batch_size, progress=progress) == 0:
            raise DataError("the corpus is empty; expected at least one document", place)
        index.compact()
    return open_index(place)


def open_index(path: str | os.PathLike[str]) -> VectorIndex:
    """Opens an index.

    Raises:
        DataError: there is none, or it was not made by embedloom.
    """
    place = Path(path)
    if not _holds_index(place):
        raise DataError("no index here; make one with: embedloom index MODEL CORPUS --out INDEX", place)
    try:
        table = _connect(place).open_table(TABLE)
        return VectorIndex(place, table, stored_model(table.schema))
    except (DataError, OSError, RuntimeError, ValueError) as error:
        raise DataError(f"the index can't be opened ({error}); build it again", place) from None


class VectorIndex:
    """An open index. `model` says whose vectors it holds; made by `create_index` and `open_index`."""

    def __init__(self, path: Path, table: Any, model: IndexedModel) -> None:
        self.path = path
        self.model = model
        self._table = table

    def __len__(self) -> int:
        return int(self._table.count_rows())

    def search(
        self,
        queries: Sequence[str],
        embedder: Embedder,
        instruction: str | None = None,
        k: int = 10,
        *,
        progress: Progress | None = None,
    ) -> list[list[Hit]]:
        """For each query its `k` documents of highest cosine, best first; equal scores by id, last first.

        Args:
            queries: the texts.
            embedder: the model; must be the one that made the index.
            instruction: the queries' instruction; the index's own if None.
            k: how many hits a query; fewer only where the index holds fewer documents.
            progress: called with the number of queries encoded.

        Raises:
            FingerprintError: another model made the index.
            DataError: `k` below 1.
        """
        self.check(embedder)
        instruction = self.model.instruction if instruction is None else instruction
        if not queries:
            return []
        return self.search_vectors(embedder.encode_queries(queries, instruction, progress=progress), k)

    def search_vectors(self, query_vectors: Vectors, k: int = 10) -> list[list[Hit]]:
        """As `search`, for unit vectors of queries, shape (queries, dimension), that the index's model made before."""
        if k < 1:
            raise DataError(f"k is {k}; expected 1 or more hits a query")
        q_QD = unit_vectors(query_vectors, len(query_vectors), self.model)
        total = len(self)
        hits: list[list[Hit]] = [[] for _ in q_QD]
        limit = min(k + SLACK, total)
        todo = list(range(len(q_QD)))
        while todo:
            at_once = max(1, min(QUERIES_AT_ONCE, CANDIDATES_AT_ONCE // limit))
            unsure: list[int] = []
            for start in range(0, len(todo), at_once):
                rows = todo[start : start + at_once]
                for row, found in zip(rows, self._nearest(q_QD[rows], limit), strict=True):
                    ranked, complete = found.best(q_QD[row], min(k, total))
                    hits[row] = ranked
                    if not complete and limit < total:
                        unsure.append(row)
            todo, limit = unsure, min(limit * 4, total)
        return hits

    def add(
        self,
        documents: Iterable[Document],
        embedder: Embedder,
        *,
        vectors: Vectors | None = None,
        batch_size: int = BATCH,
        skip_known: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """Appends documents, each batch in one commit: after a kill, every batch that was committed is there, whole.

        Args:
            documents: read once, held `batch_size` at a time.
            embedder: the model; must be the one that made the index.
            vectors: as for `create_index`.
            batch_size: documents encoded and committed together.
            skip_known: leave out documents whose id is in the index, so that an append which was cut off can be given
                again as it was.
            progress: called with the number of documents encoded.

        Returns:
            How many were added.

        Raises:
            FingerprintError: another model made the index.
            DataError: an id twice, or (without `skip_known`) in the index already; earlier batches stay.
        """
        self.check(embedder)
        added = seen = 0
        rest = iter(documents)
        with _locked(self.path):
            self._table.checkout_latest()
            while batch := list(islice(rest, batch_size)):
                given = None if vectors is None else vectors[seen : seen + len(batch)]
                seen += len(batch)
                if vectors is not None and len(vectors) < seen:
                    raise DataError(f"{len(vectors)} vectors for more documents; expected one a document")
                fresh = self._fresh(batch, skip_known)
                if fresh:
                    texts = [batch[i].content for i in fresh]
                    made = embedder.encode_documents(texts, progress=progress) if given is None else given[fresh]
                    d_ND = unit_vectors(made, len(fresh), self.model)
                    self._table.add(table_rows([batch[i] for i in fresh], d_ND, self.model))
                    added += len(fresh)
        if vectors is not None and len(vectors) != seen:
            raise DataError(f"{len(vectors)} vectors for {seen} documents; expected one a document")
        return added

    def compact(self) -> None:
        """Merges the files of many appends and drops old versions. Only while nobody else reads the index."""
        self._table.optimize(cleanup_older_than=timedelta(milliseconds=1), delete_unverified=True)

    def documents(self, ids: Sequence[str]) -> list[Document]:
        """The documents with these ids, in this order.

        Raises:
            DataError: an id that is not in the index.
        """
        found: dict[str, Document] = {}
        for start in range(0, len(ids), BATCH):
            for row in self._where_id(ids[start : start + BATCH], ["id", "title", "text"]):
                found[row["id"]] = Document(row["id"], row["text"], row["title"])
        missing = [identity for identity in ids if identity not in found]
        if missing:
            raise DataError(f"no document with id {missing[0]!r} in this index", self.path)
        return [found[identity] for identity in ids]

    def sample(self, count: int, *, seed: int) -> list[Document]:
        """Documents drawn at random, the same for the same seed; all of them where there are no more."""
        total = len(self)
        places = sorted(random.Random(seed).sample(range(total), min(count, total)))
        # One place at a time: of several it is not said in which order they come back.
        rows = [self._table.take_offsets([place]).select(["id", "title", "text"]).to_list()[0] for place in places]
        return [Document(row["id"], row["text"], row["title"]) for row in rows]

    def check(self, embedder: Embedder) -> None:
        """Raises `FingerprintError` unless `embedder` is the model that made the index."""
        own = self.model
        if (embedder.fingerprint, embedder.dimension) != (own.fingerprint, own.dimension):
            raise FingerprintError(
                f"{self.path} holds vectors of {own.name} (fingerprint {own.fingerprint}, dimension {own.dimension}), "
                f"but the model given is {embedder.name} (fingerprint {embedder.fingerprint}, dimension "
                f"{embedder.dimension}); give {own.name}, or build the index again with: "
                f"embedloom index {embedder.name} CORPUS --out {self.path} --overwrite"
            )

    def _nearest(self, q_QD: Vectors, limit: int) -> list[_Candidates]:
        """The `limit` nearest rows of each query as LanceDB finds them."""
        query: Any = self._table.search(list(q_QD), vector_column_name="vector")
        # Several vectors in one query come back in one table, told apart by query_index; one vector has no such column.
        found = query.distance_type("dot").limit(limit).select(["id", "vector", "_distance"]).to_arrow()
        count = len(q_QD)
        owner = found["query_index"].to_numpy() if count > 1 else np.zeros(len(found), dtype=np.int32)
        ids = found["id"].to_pylist()
        d_ND = found["vector"].combine_chunks().flatten().to_numpy().reshape(len(found), -1)
        distance_N = found["_distance"].to_numpy()
        out = []
        for number in range(count):
            rows = np.flatnonzero(owner == number)
            out.append(_Candidates([ids[i] for i in rows], d_ND[rows], distance_N[rows]))
        return out

    def _fresh(self, batch: Sequence[Document], skip_known: bool) -> list[int]:
        """Positions of the batch's documents that are to be added."""
        known = {row["id"] for row in self._where_id([document.id for document in batch], ["id"])}
        fresh = []
        for position, document in enumerate(batch):
            if document.id not in known:
                fresh.append(position)
                known.add(document.id)
            elif not skip_known:
                raise DataError(f"the id {document.id!r} is there twice; expected each document once", self.path)
        return fresh

    def _where_id(self, ids: Sequence[str], columns: list[str]) -> Iterator[dict[str, Any]]:
        from lancedb.expr import col

        # An expression, not a SQL text: an id is whatever the user's file says.
        condition = col("id").isin(list(ids))
        yield from self._table.search().where(condition).select(columns).limit(len(ids)).to_list()


@dataclass(frozen=True, slots=True)
class _Candidates:
    """What LanceDB found for one query: ids, vectors (candidates, dimension), its own distances in rising order."""

    ids: list[str]
    vectors: Vectors
    distances: Vectors

    def best(self, q_D: Vectors, k: int) -> tuple[list[Hit], bool]:
        """The `k` best by exact cosine, and whether no document outside the candidates could be one of them."""
        # Row sums of products in float64: equal vectors get equal scores wherever they stand, which a matrix product
        # doesn't promise.
        score_N = (self.vectors.astype(np.float64) * q_D).sum(axis=1)
        hits = sorted((Hit(i, float(s)) for i, s in zip(self.ids, score_N, strict=True)), key=_rank, reverse=True)
        distance = np.sort(self.distances)
        return hits[:k], len(distance) > k and bool(distance[-1] - distance[k - 1] > NEAR)


def _rank(hit: Hit) -> tuple[float, str]:
    return hit.score, hit.document_id


def _holds_index(place: Path) -> bool:
    return (place / f"{TABLE}.lance").is_dir()


def _connect(path: Path) -> Any:
    import lancedb

    return lancedb.connect(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process append at a time: between the look for known ids and the commit nobody else may add one."""
    with open(path / ".lock", "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
