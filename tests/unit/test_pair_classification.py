"""Pair classification: figures against scikit-learn, resamples included, and files that can't be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedloom.data.pairs import LabelledPair, read_labelled_pairs
from embedloom.errors import DataError
from embedloom.evals.pair_classification import Thresholds, evaluate_pair_classification
from word_embedder import WordEmbedder

sklearn_metrics = pytest.importorskip("sklearn.metrics")

PAIRS = (
    LabelledPair("red fox", "red fox", True),
    LabelledPair("green river", "green sea", True),
    LabelledPair("old town", "quiet town", False),
    LabelledPair("seven boats", "night falls", False),
)
ROWS = st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9]) | st.floats(-1, 1), st.booleans()), min_size=3, max_size=40)


@settings(deadline=None)
@given(ROWS, st.integers(0, 9))
def test_figures_of_a_resample_equal_scikit_learns_on_its_rows(rows: list[tuple[float, bool]], seed: int) -> None:
    scores, labels = np.array([score for score, _ in rows]), np.array([label for _, label in rows])
    counts = np.random.default_rng(seed).multinomial(len(rows), [1 / len(rows)] * len(rows), size=2)
    counts = np.concatenate([np.ones((1, len(rows))), counts])
    figures = Thresholds(scores, labels)
    found = figures.average_precision(counts), figures.accuracy(counts), figures.f1(counts)
    for row, precision, accuracy, f1 in zip(counts, *found, strict=True):
        drawn = np.repeat(np.arange(len(rows)), row.astype(int))
        gold, score = labels[drawn], scores[drawn]
        if gold.any():
            assert precision == pytest.approx(sklearn_metrics.average_precision_score(gold, score))
        else:
            assert np.isnan(precision)
        # Thresholds below all scores of the set are none; a resample may leave the lowest score out.
        sides = [score >= threshold for threshold in np.unique(scores)[1:]]
        assert accuracy == pytest.approx(max((float((gold == side).mean()) for side in sides), default=0.0))
        best = max((sklearn_metrics.f1_score(gold, side, zero_division=0.0) for side in sides), default=0.0)
        assert f1 == pytest.approx(best)


def test_shares_of_the_pairs_have_the_average_precision_as_their_mean() -> None:
    generator = np.random.default_rng(2)
    scores, labels = generator.integers(0, 9, 60) / 9, generator.random(60) < 0.4
    figures = Thresholds(scores, labels)
    assert figures.shares().mean() == pytest.approx(sklearn_metrics.average_precision_score(labels, scores))
    assert not figures.shares()[~labels].any()


def test_a_set_is_measured_and_both_texts_carry_the_instruction() -> None:
    embedder = WordEmbedder()
    found = evaluate_pair_classification(embedder, PAIRS, task="pairs")
    assert [measure.name for measure in found.measures] == ["ap", "max_ap", "accuracy", "f1"]
    assert found.measures[0].estimate.value == pytest.approx(found.items.mean())
    assert {role for role, _, _ in embedder.asked} == {"query"}
    assert found.instruction == "Retrieve semantically similar text."
    assert (found.family, found.count) == ("pair-classification", 4)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ('{"sentence1": "a", "sentence2": "b", "label": 2}', "pairs.jsonl:1: key 'label': expected 0 or 1, got 2"),
        ('{"sentence1": "a", "sentence2": "b", "label": 1}', "expected pairs of both labels"),
        ('{"sentence1": "", "sentence2": "b", "label": 1}', "pairs.jsonl:1: key 'sentence1' is empty"),
        ("", "expected pairs of both labels"),
    ],
)
def test_a_file_that_can_not_be_used_says_where(tmp_path: Path, lines: str, sentence: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(lines + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=sentence):
        read_labelled_pairs(path)
