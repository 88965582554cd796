"""The documents of an index: added, replaced, removed and read, by the one model that made their vectors."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from embedloom.errors import DataError, FingerprintError
from embedloom.records import Document, Embedder, Progress
from embedloom.search.kinds import IndexKind
from embedloom.search.store import Store
from embedloom.search.table import IndexedModel, unit_vectors

if TYPE_CHECKING:
    from embedloom.records import Vectors

BATCH = 2048
"""Documents that are encoded and committed together."""


@dataclass(frozen=True, slots=True)
class Updated:
    """Documents that were new, that had another text before, and that were there as they are."""

    added: int
    changed: int
    unchanged: int


class Collection:
    """Documents and their vectors in a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def path(self) -> str:
        """Its name, as it was opened by."""
        return self.store.place

    @property
    def model(self) -> IndexedModel:
        """The model whose vectors it holds."""
        return self.store.model

    @property
    def kind(self) -> IndexKind:
        """How it is searched."""
        return self.store.kind

    def __len__(self) -> int:
        return self.store.count()

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
        store, rest = self.store, iter(documents)
        added = seen = 0
        with store.locked():
            while batch := list(islice(rest, batch_size)):
                given = None if vectors is None else vectors[seen : seen + len(batch)]
                seen += len(batch)
                if vectors is not None and len(vectors) < seen:
                    raise DataError(f"{len(vectors)} vectors for more documents; expected one a document")
                fresh = _fresh(store, batch, skip_known)
                if fresh:
                    texts = [batch[i].content for i in fresh]
                    made = embedder.encode_documents(texts, progress=progress) if given is None else given[fresh]
                    store.add([batch[i] for i in fresh], unit_vectors(made, len(fresh), store.model))
                    added += len(fresh)
        if vectors is not None and len(vectors) != seen:
            raise DataError(f"{len(vectors)} vectors for {seen} documents; expected one a document")
        return added

    def update(
        self,
        documents: Iterable[Document],
        embedder: Embedder,
        *,
        batch_size: int = BATCH,
        progress: Progress | None = None,
    ) -> Updated:
        """Adds documents, in place of those with the same ids; only new and changed texts are encoded.

        Raises:
            FingerprintError: another model made the index.
            DataError: an id twice in one batch; earlier batches stay.
        """
        self.check(embedder)
        store, rest = self.store, iter(documents)
        added = changed = unchanged = 0
        with store.locked():
            while batch := list(islice(rest, batch_size)):
                ids = {document.id for document in batch}
                if len(ids) < len(batch):
                    raise DataError("an id is there twice; expected each document once", store.place)
                known = {document.id: document for document in store.documents(sorted(ids))}
                other = [d for d in batch if d.id not in known or not _same(d, known[d.id])]
                if other:
                    made = embedder.encode_documents([document.content for document in other], progress=progress)
                    store.replace(other, unit_vectors(made, len(other), store.model))
                fresh = sum(document.id not in known for document in other)
                same = ids - {document.id for document in other}
                if same and store.kind.columns:
                    store.retag([document for document in batch if document.id in same])
                added, changed, unchanged = added + fresh, changed + len(other) - fresh, unchanged + len(same)
        return Updated(added, changed, unchanged)

    def delete(self, ids: Sequence[str], embedder: Embedder | None = None) -> int:
        """Removes documents by id; ids that are not there are passed over. Returns how many were removed."""
        if embedder is not None:
            self.check(embedder)
        with self.store.locked():
            return sum(self.store.delete(ids[start : start + BATCH]) for start in range(0, len(ids), BATCH))

    def compact(self) -> None:
        """Takes up what was added since into the approximate index and drops old versions. Only while nobody reads."""
        with self.store.locked():
            self.store.build()

    def documents(self, ids: Sequence[str]) -> list[Document]:
        """The documents with these ids, in this order.

        Raises:
            DataError: an id that is not in the index.
        """
        found: dict[str, Document] = {}
        for start in range(0, len(ids), BATCH):
            found.update((document.id, document) for document in self.store.documents(ids[start : start + BATCH]))
        missing = [identity for identity in ids if identity not in found]
        if missing:
            raise DataError(f"no document with id {missing[0]!r} in this index", self.path)
        return [found[identity] for identity in ids]

    def sample(self, count: int, *, seed: int) -> list[Document]:
        """Documents drawn at random, by id, the same for the same seed; all of them where there are no more."""
        return self.sample_with_vectors(count, seed=seed)[0]

    def sample_with_vectors(self, count: int, *, seed: int) -> tuple[list[Document], Vectors]:
        """As `sample`, with the documents' unit vectors, shape (documents, dimension)."""
        total = len(self)
        return self.store.at(sorted(random.Random(seed).sample(range(total), min(count, total))))

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


def _fresh(store: Store, batch: Sequence[Document], skip_known: bool) -> list[int]:
    """Positions of the batch's documents that are to be added."""
    known = {document.id for document in store.documents([document.id for document in batch])}
    fresh = []
    for position, document in enumerate(batch):
        if document.id not in known:
            fresh.append(position)
            known.add(document.id)
        elif not skip_known:
            raise DataError(f"the id {document.id!r} is there twice; expected each document once", store.place)
    return fresh


def _same(one: Document, other: Document) -> bool:
    return (one.text, one.title) == (other.text, other.title)
