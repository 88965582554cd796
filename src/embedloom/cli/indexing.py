"""What `embedloom index` reads besides texts: tags, vectors that were made before, and changes to an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from embedloom.cli.corpus import is_text, searched_documents
from embedloom.errors import DataError, FingerprintError
from embedloom.records import Document, Embedder

if TYPE_CHECKING:
    from embedloom.records import Vectors


def read_tagged(corpus: str, columns: Mapping[str, str]) -> Sequence[Document]:
    """The documents of a corpus, with the values that its rows have for the columns.

    Raises:
        DataError: columns of a corpus whose rows have no keys.
    """
    documents = searched_documents(corpus)
    if not columns:
        return documents
    if is_text(corpus):
        raise DataError("columns are keys of the rows of a corpus.jsonl; this corpus is text", corpus)
    from embedloom.data.beir import part_of
    from embedloom.data.sources import data_path
    from embedloom.run import read_objects
    from embedloom.search.tags import TaggedDocument

    path = data_path(corpus)
    rows = read_objects(path if path.is_file() else part_of(path, "corpus.jsonl"))
    out = []
    for document, (line, row) in zip(documents, rows, strict=True):
        tags = {name: row[name] for name in columns if row.get(name) is not None}
        odd = next((name for name, value in tags.items() if not isinstance(value, str | int | float)), None)
        if odd is not None:
            raise DataError(f"key {odd!r}: expected {columns[odd]}, got {type(tags[odd]).__name__}", path, line)
        out.append(TaggedDocument(document.id, document.text, document.title, tags=tags))
    return out


def read_matching(path: Path, documents: Sequence[Document], embedder: Embedder) -> Vectors:
    """The full vectors of documents from a file that `embedloom encode` wrote, in the documents' order.

    Raises:
        FingerprintError: another model's.
        DataError: not of these documents, or not the full vectors of documents.
    """
    import numpy as np

    from embedloom.scale.vectors_file import read_told, read_vectors

    told = read_told(path)
    if told.fingerprint != embedder.fingerprint:
        what = f"{path} holds vectors of {told.model} (fingerprint {told.fingerprint})"
        raise FingerprintError(f"{what}; give that model, or encode the corpus with this one")
    if (told.role, told.dimension, told.precision) != ("document", embedder.dimension, "float32"):
        what = f"holds {told.precision} vectors of {told.dimension} numbers, of {told.role} texts"
        raise DataError(f"{what}; expected float32 vectors of documents in full length", path)
    vectors_ND = np.empty((len(documents), told.dimension), dtype=np.float32)
    row = 0
    for ids, some in read_vectors(path):
        if ids != [document.id for document in documents[row : row + len(ids)]]:
            raise DataError("holds vectors of other documents than the corpus, or in another order", path)
        vectors_ND[row : row + len(ids)] = some
        row += len(ids)
    if row != len(documents):
        raise DataError(f"holds {row} vectors; the corpus has {len(documents)} documents", path)
    return vectors_ND


def change(place: str, model: str, corpus: str | None, delete: Path | None, *, compact: bool) -> None:
    """Changes an index with the model that made it, and says what was done."""
    from embedloom.cli.opening import open_embedder
    from embedloom.cli.progress import bar, notice
    from embedloom.search.index import open_index

    ids = [] if delete is None else _lines(delete)
    index = open_index(place)
    embedder = open_embedder(model, notice=notice)
    index.check(embedder)
    if corpus is not None:
        documents = read_tagged(corpus, index.kind.columns)
        with bar("index", len(documents), unit="documents") as advance:
            done = index.update(documents, embedder, progress=advance)
        click.echo(f"{done.added} documents added, {done.changed} changed, {done.unchanged} unchanged")
    if delete is not None:
        click.echo(f"{index.delete(ids, embedder)} documents removed")
    if compact:
        index.compact()
    click.echo(f"{len(index)} documents in {place}")


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line]
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text ({error.reason}); expected an id a line", path) from None
