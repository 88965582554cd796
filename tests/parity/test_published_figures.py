"""BM25 on real sets against the figures that MTEB's results repository publishes for its BM25."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from embedloom.data.lexical import BM25
from embedloom.evals.suite import discover, evaluate_search

SHARED = Path(os.environ.get("EMBEDLOOM_SHARED") or Path(__file__).parents[3] / "shared")
RETRIEVAL = SHARED / "data" / "retrieval"

pytestmark = pytest.mark.skipif(not RETRIEVAL.is_dir(), reason="the real data sets are not beside the repository")


@pytest.mark.parametrize(("task", "published"), [("scifact", 0.687), ("xquad-en", 0.965), ("xquad-el", 0.907)])
def test_bm25_reproduces_published_figures(task: str, published: float) -> None:
    found = next(evaluate_search(BM25, discover(RETRIEVAL / task)))
    assert found.main.estimate.value == pytest.approx(published, abs=0.005)


@pytest.mark.parametrize(("task", "published"), [("xquad-zh", 0.121), ("xquad-hi", 0.751), ("xquad-th", 0.845)])
def test_bm25_does_better_where_words_are_not_split_at_spaces_and_ascii(task: str, published: float) -> None:
    found = next(evaluate_search(BM25, discover(RETRIEVAL / task)))
    assert found.main.estimate.value > published + 0.05
