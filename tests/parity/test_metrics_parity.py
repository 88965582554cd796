"""Our figures of merit against trec_eval (pytrec_eval), scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedloom.evals import metrics

pytrec_eval = pytest.importorskip("pytrec_eval")
stats = pytest.importorskip("scipy.stats")
sklearn_metrics = pytest.importorskip("sklearn.metrics")

IDS = st.sampled_from([f"d{i}" for i in range(30)] + ["", "é", "文", "10", "9", "😀", "Z"])
# trec_eval keeps scores in 32 bits; few distinct ones make ties common.
SCORES = st.one_of(st.sampled_from([0.0, 0.25, 1.0]), st.floats(-4, 4, width=32))
RUNS = st.dictionaries(IDS, SCORES, min_size=1, max_size=30)
QRELS = st.dictionaries(IDS, st.integers(0, 4), min_size=1, max_size=20)


@given(st.lists(st.tuples(RUNS, QRELS), min_size=1, max_size=4), st.sampled_from([1, 3, 10, 100]))
def test_ranking_metrics_equal_trec_eval(cases: list[tuple[dict[str, float], dict[str, int]]], k: int) -> None:
    runs = {f"q{i}": run for i, (run, _) in enumerate(cases)}
    qrels = {f"q{i}": judged for i, (_, judged) in enumerate(cases)}
    wanted = {f"ndcg_cut.{k}", f"recall.{k}", "map", "recip_rank"}
    expected = pytrec_eval.RelevanceEvaluator(qrels, wanted).evaluate(runs)
    rankings = [metrics.ranked(run) for run in runs.values()]
    judged = list(qrels.values())
    ours = {
        f"ndcg_cut_{k}": metrics.ndcg(rankings, judged, k),
        f"recall_{k}": metrics.recall(rankings, judged, k),
        "map": metrics.average_precision(rankings, judged),
        "recip_rank": metrics.reciprocal_rank(rankings, judged),
    }
    for name, values in ours.items():
        theirs = [expected[query][name] for query in runs]
        np.testing.assert_allclose(values, theirs, atol=1e-6, err_msg=name)


@given(RUNS, QRELS, st.integers(1, 12))
def test_mrr_at_k_is_trec_evals_reciprocal_rank_of_the_first_k(
    run: dict[str, float], judged: dict[str, int], k: int
) -> None:
    ranking = metrics.ranked(run)
    cut = {identity: float(len(ranking) - rank) for rank, identity in enumerate(ranking[:k])}
    expected = pytrec_eval.RelevanceEvaluator({"q": judged}, {"recip_rank"}).evaluate({"q": cut})["q"]["recip_rank"]
    assert metrics.reciprocal_rank([ranking], [judged], k)[0] == pytest.approx(expected, abs=1e-6)


COLUMNS = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 2.5]) | st.floats(-5, 5), st.sampled_from([-1.0, 0.5]) | st.floats(-1, 1)),
    min_size=3,
    max_size=60,
)


@given(COLUMNS)
def test_spearman_equals_scipy(rows: list[tuple[float, float]]) -> None:
    left, right = (np.array(column) for column in zip(*rows, strict=True))
    ours = metrics.spearman(left, right)
    np.testing.assert_allclose(metrics.average_ranks(left), stats.rankdata(left))
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(stats.spearmanr(left, right).statistic, abs=1e-6)


@given(st.integers(1, 25).flatmap(lambda n: st.lists(st.integers(0, n - 1), min_size=n, max_size=n)))
def test_bitext_f1_equals_the_weighted_f1_that_mteb_reports(predicted: list[int]) -> None:
    lines = list(range(len(predicted)))
    expected = sklearn_metrics.f1_score(lines, predicted, zero_division=0, average="weighted")
    ours = np.array(predicted)
    assert metrics.bitext_f1(ours).mean() == pytest.approx(expected, abs=1e-9)
    accuracy = sklearn_metrics.accuracy_score(lines, predicted)
    assert metrics.accuracy(ours, np.array(lines)).mean() == pytest.approx(accuracy)
