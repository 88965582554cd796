"""Known positives of all files together, so that no query is ever told that one of its answers is wrong."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from embedloom.data.words import same
from embedloom.records import Document, Example


@dataclass(frozen=True, slots=True)
class Known:
    """One answer to a query: its text, its document's id, or both."""

    query: str
    text: str = ""
    document_id: str = ""


def known_answers(examples: Iterable[Example]) -> Iterator[Known]:
    """The positives of training rows, with the passage that a row was written for."""
    for example in examples:
        for text in example.positives:
            yield Known(example.query, text, example.passage_id)


class KnownPositives:
    """Which documents answer which query, for as many rows as there are: 16 bytes an answer.

    Queries and texts are compared by their normalised words, so that case, punctuation and white space hide nothing;
    the instruction plays no part. What is held are hashes of 64 bits: one in 2^64 strangers counts as an answer.

    Args:
        known: the answers; read once.
    """

    def __init__(self, known: Iterable[Known]) -> None:
        hashes = array("Q")
        for answer in known:
            query = same(answer.query)
            if answer.text:
                hashes.append(_hash(query, "text", same(answer.text)))
            if answer.document_id:
                hashes.append(_hash(query, "id", answer.document_id))
        found = np.frombuffer(hashes, dtype=np.uint64) if hashes else np.empty(0, dtype=np.uint64)
        self._hashes = np.unique(found)

    def __len__(self) -> int:
        return len(self._hashes)

    def answers(self, query: str, document: Document) -> bool:
        """Whether the document is a known answer to the query: by its id, its content, or its text without title."""
        asked = same(query)
        marks = [_hash(asked, "id", document.id), _hash(asked, "text", same(document.content))]
        if document.title:
            marks.append(_hash(asked, "text", same(document.text)))
        looked_up = np.array(marks, dtype=np.uint64)
        places = np.searchsorted(self._hashes, looked_up)
        inside = places < len(self._hashes)
        return bool(np.any(self._hashes[places[inside]] == looked_up[inside]))


def _hash(query: str, kind: str, value: str) -> int:
    parts = [part.encode("utf-8", "surrogatepass") for part in (query, kind, value)]
    joined = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "little")
