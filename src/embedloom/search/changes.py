"""Documents into a store: encoded, checked and committed batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from embedloom.errors import DataError
from embedloom.records import Document, Embedder, Progress
from embedloom.search.store import Store
from embedloom.search.table import unit_vectors

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


def add_documents(
    store: Store,
    documents: Iterable[Document],
    embedder: Embedder,
    vectors: Vectors | None = None,
    *,
    batch_size: int = BATCH,
    skip_known: bool = False,
    progress: Progress | None = None,
) -> int:
    """Adds documents to a store of `embedder`'s vectors; see `VectorIndex.add`."""
    added = seen = 0
    rest = iter(documents)
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


def update_documents(
    store: Store,
    documents: Iterable[Document],
    embedder: Embedder,
    *,
    batch_size: int = BATCH,
    progress: Progress | None = None,
) -> Updated:
    """Adds documents in place of those with the same ids; see `VectorIndex.update`."""
    added = changed = unchanged = 0
    rest = iter(documents)
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
