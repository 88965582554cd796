"""Bootstrap intervals: they cover, they pair, they repeat, and draw counts say the same as drawn rows."""

from __future__ import annotations

import numpy as np
import pytest

from embedloom.evals import intervals, metrics
from embedloom.evals.intervals import difference_estimate, mean_estimate, spearman_difference, spearman_estimate


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide() -> None:
    values = np.random.default_rng(1).normal(3, 2, 2_000)
    found = mean_estimate(values)
    error = values.std() / np.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=error / 4)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=error / 4)


def test_nineteen_of_twenty_intervals_hold_the_true_mean() -> None:
    generator = np.random.default_rng(2)
    found = [mean_estimate(generator.random(80), resamples=400, seed=i) for i in range(300)]
    assert 0.90 <= np.mean([one.low <= 0.5 <= one.high for one in found]) <= 0.99


def test_pairing_narrows_the_interval_of_a_difference() -> None:
    generator = np.random.default_rng(3)
    hardness = generator.random(300)
    ours, theirs = hardness + 0.02 + generator.normal(0, 0.01, 300), hardness
    paired = difference_estimate(ours, theirs)
    assert paired.low > 0
    assert paired.value == pytest.approx(ours.mean() - theirs.mean())
    assert paired.high - paired.low < (mean_estimate(ours).high - mean_estimate(ours).low) / 5


def test_equal_columns_differ_by_exactly_nothing() -> None:
    values = np.random.default_rng(4).random(50)
    gold = np.random.default_rng(5).integers(0, 5, 50).astype(float)
    assert difference_estimate(values, values).interval == (0, 0)
    assert spearman_difference(gold, values, values).interval == (0, 0)


@pytest.mark.parametrize("block", [64, 1 << 20])
def test_spearman_from_draw_counts_equals_spearman_of_the_drawn_rows(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "BLOCK", block)
    generator = np.random.default_rng(6)
    gold = generator.integers(0, 6, 30).astype(float)
    scores = np.round(gold + generator.normal(0, 2, 30))
    expected = []
    for counts in intervals._draws(30, 200, 9):
        for row in counts:
            rows = np.repeat(np.arange(30), row.astype(int))
            expected.append(metrics.spearman(gold[rows], scores[rows]))
    found = spearman_estimate(gold, scores, resamples=200, seed=9)
    assert found.interval == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])))
    assert found.value == pytest.approx(metrics.spearman(gold, scores))


def test_a_better_correlation_is_seen_as_better() -> None:
    generator = np.random.default_rng(7)
    gold = generator.random(400)
    near, far = gold + generator.normal(0, 0.1, 400), gold + generator.normal(0, 0.5, 400)
    found = spearman_difference(gold, near, far)
    assert 0 < found.low < found.value < found.high
    back = spearman_difference(gold, far, near)
    assert back.interval == pytest.approx((-found.high, -found.low))


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(8).random(60)
    assert mean_estimate(values, seed=1) == mean_estimate(values, seed=1)
    assert mean_estimate(values, seed=1) != mean_estimate(values, seed=2)


def test_columns_of_different_items_are_refused() -> None:
    with pytest.raises(ValueError, match="same items"):
        difference_estimate(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="same items"):
        spearman_estimate(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="at least one"):
        mean_estimate(np.empty(0))


def test_a_constant_column_has_no_correlation_and_no_interval() -> None:
    found = spearman_estimate(np.arange(5.0), np.ones(5))
    assert np.isnan([found.value, found.low, found.high]).all()
