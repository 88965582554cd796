"""Whether a text's vector is its own: the same alone as in a batch, and nearly the same in another precision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from embedloom.data.beir import RetrievalSet
from embedloom.evals.suite import EvalSet
from embedloom.records import Embedder

if TYPE_CHECKING:
    from embedloom.records import Vectors


def gap(left_ND: Vectors, right_ND: Vectors) -> float:
    """The largest 1 - cosine between corresponding unit vectors: 0 where they are equal."""
    apart_ND = left_ND.astype(np.float64) - right_ND
    return float(np.einsum("nd,nd->n", apart_ND, apart_ND).max() / 2)


def batch_gap(embedder: Embedder, texts: Sequence[str], instruction: str) -> float:
    """The largest gap of a text alone, in a batch of all and in that batch turned round, as query and as document."""
    gaps = []
    for encode in (lambda some: embedder.encode_queries(some, instruction), embedder.encode_documents):
        together = encode(list(texts))
        alone = np.concatenate([encode([text]) for text in texts])
        turned = encode(list(reversed(texts)))[::-1]
        gaps += [gap(together, alone), gap(together, turned)]
    return max(gaps)


def sampled_texts(sets: Iterable[EvalSet], count: int) -> list[str]:
    """Different texts of sets, the same number of each as far as they go: of their beginnings, long and short ones."""
    found = [list(dict.fromkeys(islice(_texts(one), 20 * count))) for one in sets]
    share = -(-count // max(len(found), 1))
    chosen = [text for texts in found for text in _spread(sorted(texts, key=len), share)]
    return list(dict.fromkeys(chosen))[:count]


def _spread(texts: list[str], count: int) -> list[str]:
    if len(texts) <= count:
        return texts
    return [texts[round(place)] for place in np.linspace(0, len(texts) - 1, count)]


def _texts(found: EvalSet) -> Iterable[str]:
    if isinstance(found.rows, RetrievalSet):
        yield from found.rows.queries.values()
        yield from (document.content for document in found.rows.corpus)
        return
    parts: Iterable[Any] = found.rows if found.family == "classification" else [found.rows]
    rows = (row for part in parts for row in part)
    for row in rows:
        if found.family == "reranking":
            yield from (row.query, *row.positives, *row.negatives)
        elif hasattr(row, "text"):
            yield row.text
        else:
            yield from (row.sentence1, row.sentence2)
