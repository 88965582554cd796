"""A part of an evaluation set: enough to tell settings apart, at a fraction of the time. Its figures are not the set's.

Which items are taken is a function of (seed, item): every model is measured on the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from embedloom.data.beir import RetrievalSet
from embedloom.evals.suite import EvalSet
from embedloom.records import content_id, to_json

DOCUMENTS = 1.5
"""Documents for each query of a part, those that answer it among them."""
TRAINING_TEXTS = 16
"""Texts of each label that a part of a classification learns from."""


def part_of_set(found: EvalSet, limit: int, *, seed: int = 0) -> EvalSet:
    """The set with at most `limit` queries, pairs or texts; a limit of 0 is none.

    Of a retrieval set the answers of its queries stay, and other documents up to `DOCUMENTS` times `limit`. Of a
    classification `TRAINING_TEXTS` of each label are learned from.
    """
    if not limit:
        return found
    if found.family == "retrieval":
        part = _retrieval_part(found.rows, limit, seed)
        return replace(found, rows=part, text_count=len(part.corpus) + len(part.queries))
    if found.family == "classification":
        train, test = found.rows
        learned, kept = _of_each_label(train, seed), _drawn(test, limit, seed)
        return replace(found, rows=(learned, kept), text_count=len(learned) + len(kept))
    kept = _drawn(found.rows, limit, seed)
    return replace(found, rows=kept, text_count=round(found.text_count * len(kept) / max(1, len(found.rows))))


def _retrieval_part(whole: RetrievalSet, limit: int, seed: int) -> RetrievalSet:
    asked = set(_first(whole.queries, limit, seed))
    answers = {document for query in asked for document, judged in whole.qrels[query].items() if judged > 0}
    others = [document.id for document in whole.corpus if document.id not in answers]
    kept = answers | set(_first(others, max(0, round(DOCUMENTS * limit) - len(answers)), seed))
    return replace(
        whole,
        corpus=tuple(document for document in whole.corpus if document.id in kept),
        queries={query: text for query, text in whole.queries.items() if query in asked},
        # Judgements of documents that are not there would count as answers that were missed.
        qrels={query: {d: j for d, j in whole.qrels[query].items() if d in kept} for query in asked},
    )


def _of_each_label(rows: tuple[Any, ...], seed: int) -> tuple[Any, ...]:
    labels = dict.fromkeys(row.label for row in rows)
    return tuple(
        row
        for label in labels
        for row in _drawn(tuple(one for one in rows if one.label == label), TRAINING_TEXTS, seed)
    )


def _first(ids: Iterable[str], count: int, seed: int) -> list[str]:
    return sorted(ids, key=lambda one: content_id("part", seed, one))[:count]


def _drawn(rows: tuple[Any, ...], limit: int, seed: int) -> tuple[Any, ...]:
    order = sorted(range(len(rows)), key=lambda number: content_id("part", seed, number, to_json(rows[number])))
    return tuple(rows[number] for number in sorted(order[:limit]))
