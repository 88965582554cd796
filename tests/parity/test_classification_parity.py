"""Macro F1 from draw counts against scikit-learn on the drawn texts themselves."""

from __future__ import annotations

import numpy as np
import pytest

from embedloom.evals.classification import MacroF1, draw_texts

sklearn_metrics = pytest.importorskip("sklearn.metrics")


def test_macro_f1_of_a_resample_equals_scikit_learn_on_its_rows() -> None:
    generator = np.random.default_rng(5)
    gold = generator.integers(0, 4, 40)
    predicted = np.where(generator.random((3, 40)) < 0.6, gold, generator.integers(0, 5, (3, 40)))
    counts = np.concatenate([np.ones((1, 40)), generator.multinomial(40, [1 / 40] * 40, size=4)])
    ours = MacroF1(gold, predicted)(counts)
    for row, value in zip(counts, ours, strict=True):
        rows = np.repeat(np.arange(40), row.astype(int))
        theirs = [
            sklearn_metrics.f1_score(gold[rows], one[rows], average="macro", zero_division=0) for one in predicted
        ]
        assert value == pytest.approx(np.mean(theirs))


def test_draws_hold_a_few_texts_of_each_label_and_differ() -> None:
    labels = ["a"] * 30 + ["b"] * 3 + ["c"] * 12
    draws = draw_texts(labels, 8, 10, 42)
    for draw in draws:
        taken = [labels[index] for index in draw]
        assert [taken.count(label) for label in "abc"] == [8, 3, 8]
        assert len(set(draw)) == len(draw)
    assert len({tuple(sorted(draw)) for draw in draws}) > 5
    assert draws == draw_texts(labels, 8, 10, 42)
