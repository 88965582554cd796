"""Spans of documents: the runs of one or two sentences, and which of them is nearest to a query or a statement."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from embedloom.data.words import normalised, sentences, words

if TYPE_CHECKING:
    from embedloom.records import Document, Embedder, Progress, Vectors

VERBATIM = 1.0
"""Score of a span that holds the sentence word for word."""
SPANS = 512
"""Spans of a document that are looked at, from its beginning: a book doesn't take a minute of one search."""

_MARKER = re.compile(r"^\s*(?:[-*•>#]+|\d{1,3}[.)])\s+")
_CITATION = re.compile(r"\s*\[\d{1,3}(?:[,;\s]+\d{1,3})*\]")
"""A number in brackets, as `rag` has answers cite: not part of what a sentence says."""


@dataclass(frozen=True, slots=True)
class Source:
    """A span of a document: characters `start` to `end` of `Document.content`, and its score."""

    document_id: str
    score: float
    start: int
    end: int
    text: str


def statements(text: str) -> list[str]:
    """The sentences of a text that may hold paragraphs and lists; what has no word is none."""
    found = (one for line in text.splitlines() for one in sentences(_MARKER.sub("", line)))
    return [one for one in found if words(uncited(one))]


def uncited(sentence: str) -> str:
    """The sentence without the numbers that it cites."""
    return _CITATION.sub("", sentence)


def spans(content: str) -> list[tuple[int, int]]:
    """Where the runs of one or two sentences of a document begin and end, in characters; single sentences first."""
    places: list[tuple[int, int]] = []
    end = 0
    for sentence in statements(content):
        start = content.index(sentence, end)
        end = start + len(sentence)
        places.append((start, end))
    return places + [(first[0], second[1]) for first, second in pairwise(places)]


class EncodedSpans:
    """The spans of documents with their vectors, each text encoded once.

    Args:
        documents: what was found.
        embedder: the model that made the index.
        progress: called with the number of spans encoded.
    """

    def __init__(self, documents: Iterable[Document], embedder: Embedder, *, progress: Progress | None = None) -> None:
        self._documents = {document.id: document for document in documents}
        self._places = {identity: _looked_at(document.content) for identity, document in self._documents.items()}
        texts = sorted({self._text(i, place) for i, places in self._places.items() for place in places})
        self._words = {text: f" {normalised(uncited(text))} " for text in texts}
        encoded = embedder.encode_documents(texts, progress=progress) if texts else ()
        self._vectors: dict[str, Vectors] = dict(zip(texts, encoded, strict=True))

    def best(self, q_D: Vectors, document_id: str, *, said: str = "") -> Source | None:
        """The span of a document that is nearest to a vector, shape (dimension,); None if it has no sentence.

        Args:
            q_D: a unit vector.
            document_id: of one of the documents.
            said: a sentence; a span that holds it word for word is its source whatever the vectors say.
        """
        places = self._places[document_id]
        if not places:
            return None
        exact = f" {normalised(said)} " if said else ""
        chosen, most = places[0], -2.0
        for place in places:
            text = self._text(document_id, place)
            # Single sentences come first, so that a quotation is found in its own sentence.
            if exact and exact in self._words[text]:
                return Source(document_id, VERBATIM, *place, text)
            # As the index scores: equal vectors get equal scores.
            score = float((self._vectors[text].astype("float64") * q_D).sum())
            if score > most:
                chosen, most = place, score
        return Source(document_id, min(most, 0.9999), *chosen, self._text(document_id, chosen))

    def _text(self, document_id: str, place: tuple[int, int]) -> str:
        return self._documents[document_id].content[place[0] : place[1]]


def _looked_at(content: str) -> Sequence[tuple[int, int]]:
    places = spans(content)
    if len(places) <= SPANS:
        return places
    # The first half are single sentences, the others begin with one of them.
    most = SPANS // 2
    single = (len(places) + 1) // 2
    return places[:most] + places[single : single + most]
