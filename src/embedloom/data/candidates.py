"""Queries with candidates to put in order: JSONL with `query`, `positives` and `negatives`, for reranking."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from embedloom.data.fields import text_of, texts_of
from embedloom.errors import DataError
from embedloom.run import read_objects


@dataclass(frozen=True, slots=True)
class Candidates:
    """A query and the documents that should come first and last."""

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]


def read_candidates(path: Path) -> tuple[Candidates, ...]:
    """Reads a reranking file; `.gz` too.

    Raises:
        DataError: a malformed line, a missing key, an empty text, a query without positives or without negatives (its
            order would be right whatever the model does), or no query at all.
    """
    rows = []
    for line, obj in read_objects(path):
        row = Candidates(
            text_of(obj, "query", path, line),
            texts_of(obj, "positives", path, line),
            texts_of(obj, "negatives", path, line),
        )
        if not row.positives or not row.negatives:
            raise DataError("expected at least one positive and one negative", path, line)
        rows.append(row)
    if not rows:
        raise DataError("is empty; expected one JSON object with 'query', 'positives' and 'negatives' a line", path)
    return tuple(rows)
