"""Source attribution: for each sentence of a text the spans of the index's documents that support it, or none.

A sentence finds documents as a query does; of those, the runs of one or two sentences are encoded and compared with it.
Below a threshold there is no source: how like two unrelated texts are differs from model to model and from corpus to
corpus, so `background_threshold` measures it on the index itself.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embedloom.errors import DataError
from embedloom.search.spans import VERBATIM, EncodedSpans, Source, statements, uncited

if TYPE_CHECKING:
    from embedloom.records import Embedder, Progress
    from embedloom.search.index import VectorIndex

INSTRUCTION = "Given a statement, find the text that supports it"
LEVEL = 0.9
"""Share of sentences that chance must not reach the threshold for; chosen on one half of benchmarks/attribution.py."""


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
    level: float = LEVEL,
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
    best = background_scores(index, embedder, instruction=instruction, sample=sample, k=k, seed=seed, progress=progress)
    return float(np.quantile(best, level)) if best else 0.0


def background_scores(
    index: VectorIndex,
    embedder: Embedder,
    *,
    instruction: str = INSTRUCTION,
    sample: int = 32,
    k: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[float]:
    """For sentences of the corpus the best score of a span of another document; arguments as `background_threshold`."""
    documents = index.sample(sample, seed=seed)
    drawn: list[tuple[str, str]] = []
    for number, document in enumerate(documents):
        candidates = statements(document.content)
        if candidates:
            drawn.append((document.id, random.Random(f"{seed}/{number}").choice(candidates)))
    if not drawn:
        return []
    scored = _scored([sentence for _, sentence in drawn], index, embedder, instruction, k, progress)
    best = []
    for (own, _), sources in zip(drawn, scored, strict=True):
        # A copy in another document is a source, and says nothing about chance.
        others = [source.score for source in sources if source.document_id != own and source.score < VERBATIM]
        if others:
            best.append(max(others))
    return best


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
    said = [uncited(sentence) for sentence in found]
    q_QD = embedder.encode_queries(said, instruction, progress=progress)
    hits = index.search_vectors(q_QD, k)
    documents = index.documents(sorted({hit.document_id for row in hits for hit in row}))
    encoded = EncodedSpans(documents, embedder, progress=progress)
    out = []
    for q_D, sentence, row in zip(q_QD, said, hits, strict=True):
        best = [encoded.best(q_D, hit.document_id, said=sentence) for hit in row]
        found_sources = [source for source in best if source is not None]
        out.append(sorted(found_sources, key=lambda source: (-source.score, source.document_id)))
    return out
