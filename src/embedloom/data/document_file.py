"""A corpus that stays on disk: its documents by row and by id, however large the file is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from embedloom.data.lines import RecordIndex
from embedloom.errors import DataError
from embedloom.records import Document


class DocumentFile(Sequence[Document]):
    """The documents of a JSONL file of `Document` records, read when they are asked for: 24 bytes of memory each.

    Args:
        path: the file; it doesn't change meanwhile.

    Raises:
        DataError: no such file, a malformed line, an id twice, or no document at all.
    """

    def __init__(self, path: Path) -> None:
        self._index = RecordIndex(path, Document, "id")
        repeated = self._index.lines - len(self._index)
        if repeated or not self._index:
            self._index.__exit__()
            told = f"{repeated} documents have an id that came before" if repeated else "the corpus is empty"
            raise DataError(f"{told}; expected documents, each with an id of its own", path)

    def __enter__(self) -> DocumentFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._index.__exit__()

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, row: int) -> Document: ...
    @overload
    def __getitem__(self, row: slice) -> list[Document]: ...
    def __getitem__(self, row: int | slice) -> Document | list[Document]:
        """The document in a row of the file, counted from 0, or those of a slice of rows."""
        if isinstance(row, slice):
            return [self._index.at(place) for place in range(*row.indices(len(self)))]
        return self._index.at(row)

    def documents(self, ids: Sequence[str]) -> list[Document]:
        """The documents with these ids, in this order.

        Raises:
            DataError: there is none with one of them.
        """
        try:
            return [self._index[identity] for identity in ids]
        except KeyError as error:
            raise DataError(f"no document with id {error.args[0]!r} in this corpus") from None
