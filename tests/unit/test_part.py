"""A part of a set: the same items for every model, and a set that can be measured."""

from __future__ import annotations

import pytest

from embedloom.data.beir import RetrievalSet
from embedloom.data.labels import LabelledText
from embedloom.data.pairs import ScoredPair
from embedloom.evals.part import TRAINING_TEXTS, part_of_set
from embedloom.evals.suite import EvalSet
from embedloom.records import Document


def retrieval() -> EvalSet:
    corpus = tuple(Document(f"d{n}", f"text {n}") for n in range(100))
    queries = {f"q{n}": f"ask {n}" for n in range(50)}
    qrels = {f"q{n}": {f"d{n}": 1, f"d{n + 50}": 0} for n in range(50)}
    return EvalSet("r", "retrieval", "test", RetrievalSet("r", "test", corpus, queries, qrels), 150)


def test_a_retrieval_part_keeps_the_answers_of_its_queries() -> None:
    whole = retrieval()
    part = part_of_set(whole, 10)
    assert (len(part.rows.queries), len(part.rows.corpus), part.text_count) == (10, 15, 25)
    ids = {document.id for document in part.rows.corpus}
    for query in part.rows.queries:
        judged = part.rows.qrels[query]
        assert set(judged) <= ids
        assert sum(judged.values()) == 1
    assert part_of_set(whole, 10) == part
    assert part_of_set(whole, 10, seed=1) != part
    assert part_of_set(whole, 0) is whole


def test_pairs_are_drawn_in_their_order() -> None:
    rows = tuple(ScoredPair(f"a {n}", f"b {n}", float(n)) for n in range(40))
    part = part_of_set(EvalSet("s", "sts", "test", rows, 80), 12)
    assert len(part.rows) == 12
    assert part.text_count == 24
    assert [row.score for row in part.rows] == sorted(row.score for row in part.rows)
    assert part_of_set(EvalSet("s", "sts", "test", rows, 80), 90).rows == rows


@pytest.mark.parametrize("limit", [5, 1000])
def test_a_classification_part_learns_from_each_label_alike(limit: int) -> None:
    train = tuple(LabelledText(f"t {n}", "ab"[n % 2]) for n in range(90))
    test = tuple(LabelledText(f"u {n}", "ab"[n % 2]) for n in range(30))
    part = part_of_set(EvalSet("c", "classification", "test", (train, test), 120), limit)
    learned, kept = part.rows
    assert [sum(row.label == label for row in learned) for label in "ab"] == [TRAINING_TEXTS] * 2
    assert len(kept) == min(limit, 30)
