"""Source attribution: for each sentence of a text the spans of the index's documents that support it, or none.

A sentence finds documents as a query does; of those, the runs of one or two sentences are encoded and compared with it.
Below a threshold there is no source: how like two unrelated texts are differs from model to model and from corpus to
corpus, so `background_threshold` measures it on the index itself.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from embedloom.data.words import normalised, sentences, words
from embedloom.errors import DataError

if TYPE_CHECKING:
    from embedloom.records import Document, Embedder, Progress, Vectors
    from embedloom.search.index import VectorIndex

INSTRUCTION = "Given a statement, find the text that supports it"
VERBATIM = 1.0
"""Score of a span that holds the sentence word for word."""

_MARKER = re.compile(r"^\s*(?:[-*•>#]+|\d{1,3}[.)])\s+")
_CITATION = re.compile(r"\s*\[\d{1,3}(?:[,;\s]+\d{1,3})*\]")
"""A number in brackets, as `rag` has answers cite: not part of what a sentence says."""


@dataclass(frozen=True, slots=True)
class Source:
    """A span of a document that supports a sentence: characters `start` to `end` of `Document.content`."""

    document_id: str
    score: float
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Attribution:
    """A sentence with its sources, best first and at most one a document; none where `best` is below the threshold.

    `best` is the highest score of any span that was looked at.
    """

    sentence: str
    sources: tuple[Source, ...]
    best: float


def attribute(
    text: str,
    index: VectorIndex,
    embedder: Embedder,
    *,
    threshold: float,
    k: int = 5,
    most: int = 3,
    instruction: str = INSTRUCTION,
    progress: Progress | None = None,
) -> list[Attribution]:
    """The sources of each sentence of a text, in the text's order. Lines without words are left out.

    Args:
        text: for example an LLM's answer.
        index: the documents.
        embedder: the model; must be the one that made the index.
        threshold: cosine from which a span counts as a source.
        k: documents looked at for a sentence.
        most: sources kept for a sentence.
        instruction: what a sentence is to the model.
        progress: called with the number of texts encoded.

    Raises:
        FingerprintError: another model made the index.
        DataError: no sentence in the text.
    """
    found = statements(text)
    if not found:
        raise DataError("there is no sentence in the text; expected at least one")
    scored = _scored(found, index, embedder, instruction, k, progress)
    out = []
    for sentence, sources in zip(found, scored, strict=True):
        supported = tuple(source for source in sources if source.score >= threshold)[:most]
        out.append(Attribution(sentence, supported, sources[0].score if sources else 0.0))
    return out


def background_threshold(
    index: VectorIndex,
    embedder: Embedder,
    *,
    instruction: str = INSTRUCTION,
    sample: int = 32,
    level: float = 0.9,
    k: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> float:
    """The score that spans of documents which are not its source reach for a sentence of the corpus.

    Args:
        index: the documents.
        embedder: the model that made it.
        instruction: as for `attribute`.
        sample: sentences drawn, each from a document of its own.
        level: share of them whose best score stays below the threshold.
        k: documents looked at for a sentence, its own among them.
        seed: of the draw.
        progress: called with the number of texts encoded.

    Returns:
        A cosine; of an index with a single document nothing can be measured, and it is 0.
    """
    documents = index.sample(sample, seed=seed)
    drawn: list[tuple[str, str]] = []
    for number, document in enumerate(documents):
        candidates = statements(document.content)
        if candidates:
            drawn.append((document.id, random.Random(f"{seed}/{number}").choice(candidates)))
    if not drawn:
        return 0.0
    scored = _scored([sentence for _, sentence in drawn], index, embedder, instruction, k, progress)
    best = []
    for (own, _), sources in zip(drawn, scored, strict=True):
        # A copy in another document is a source, and says nothing about chance.
        others = [source.score for source in sources if source.document_id != own and source.score < VERBATIM]
        if others:
            best.append(max(others))
    return float(np.quantile(best, level)) if best else 0.0


def statements(text: str) -> list[str]:
    """The sentences of a text that may hold paragraphs and lists; what has no word is none."""
    found = (one for line in text.splitlines() for one in sentences(_MARKER.sub("", line)))
    return [one for one in found if words(_CITATION.sub("", one))]


def spans(content: str) -> list[tuple[int, int]]:
    """Where the runs of one or two sentences of a document begin and end, in characters."""
    places: list[tuple[int, int]] = []
    end = 0
    for sentence in statements(content):
        start = content.index(sentence, end)
        end = start + len(sentence)
        places.append((start, end))
    return places + [(first[0], second[1]) for first, second in pairwise(places)]


def _scored(
    found: Sequence[str],
    index: VectorIndex,
    embedder: Embedder,
    instruction: str,
    k: int,
    progress: Progress | None,
) -> list[list[Source]]:
    """For each sentence the best span of each document that it finds, best first."""
    index.check(embedder)
    said = [_CITATION.sub("", sentence) for sentence in found]
    q_QD = embedder.encode_queries(said, instruction, progress=progress)
    hits = index.search_vectors(q_QD, k)
    ids = sorted({hit.document_id for row in hits for hit in row})
    documents = {document.id: document for document in index.documents(ids)}
    places = {identity: spans(document.content) for identity, document in documents.items()}
    texts = sorted({documents[i].content[start:end] for i in ids for start, end in places[i]})
    vectors = dict(zip(texts, embedder.encode_documents(texts, progress=progress), strict=True)) if texts else {}
    out = []
    for q_D, sentence, row in zip(q_QD, said, hits, strict=True):
        exact = normalised(sentence)
        best = [
            _best(q_D, exact, documents[hit.document_id], places[hit.document_id], vectors)
            for hit in row
            if places[hit.document_id]
        ]
        out.append(sorted(best, key=lambda source: (-source.score, source.document_id)))
    return out


def _best(
    q_D: Vectors, exact: str, document: Document, places: Sequence[tuple[int, int]], vectors: dict[str, Vectors]
) -> Source:
    content = document.content
    chosen, most = places[0], -2.0
    for start, end in places:
        # Single sentences come first, so that a quotation is found in its own sentence.
        if f" {exact} " in f" {normalised(_CITATION.sub('', content[start:end]))} ":
            return Source(document.id, VERBATIM, start, end, content[start:end])
        score = float((vectors[content[start:end]].astype(np.float64) * q_D).sum())
        if score > most:
            chosen, most = (start, end), score
    return Source(document.id, min(most, 0.9999), *chosen, content[chosen[0] : chosen[1]])
