"""The leaderboard: order, pairing, and its rows as text and as records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedloom.errors import DataError
from embedloom.evals.intervals import mean_estimate, spearman_estimate
from embedloom.evals.leaderboard import LeaderboardRow, leaderboard, leaderboard_table
from embedloom.evals.result import Measure, SetResult
from embedloom.run import read_records, write_records


def result(task: str, values: list[float], *, gold: list[float] | None = None, split: str = "test") -> SetResult:
    items = np.array(values)
    measure = (
        Measure("ndcg@10", mean_estimate(items))
        if gold is None
        else Measure("spearman", spearman_estimate(np.array(gold), items))
    )
    family = "retrieval" if gold is None else "sts"
    return SetResult(task, family, split, (measure,), items, np.array(gold or []), "Find it", len(items), 1.5)


GOLD = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
RESULTS = {
    "BM25": [result("scifact", [1, 1, 1, 0.5])],
    "base": [result("scifact", [0, 0, 0.5, 0]), result("sts", [5.0, 1, 4, 2, 3, 0], gold=GOLD)],
    "tuned": [result("scifact", [1, 0.5, 1, 1]), result("sts", [0.0, 1, 2, 3, 5, 4], gold=GOLD)],
}


def test_rows_keep_the_order_of_sets_and_systems_and_pair_tuned_with_base() -> None:
    rows = leaderboard(RESULTS)
    assert [row.task for row in rows] == ["scifact", "sts"]
    assert [figure.system for figure in rows[0].figures] == ["BM25", "base", "tuned"]
    assert [figure.system for figure in rows[1].figures] == ["base", "tuned"]
    assert rows[0].difference is not None
    assert rows[0].difference.value == pytest.approx(0.75)
    assert rows[0].difference.low > 0
    assert (rows[0].instruction, rows[0].count, rows[1].metric) == ("Find it", 4, "spearman")


def test_a_row_without_one_of_the_pair_has_no_difference() -> None:
    rows = leaderboard({"tuned": RESULTS["tuned"], "BM25": RESULTS["BM25"]})
    assert [row.difference for row in rows] == [None, None]


def test_results_of_different_items_are_not_compared() -> None:
    with pytest.raises(DataError, match="can't be compared item by item"):
        leaderboard({"base": [result("scifact", [0, 1])], "tuned": [result("scifact", [0, 1, 1])]})


def test_splits_of_a_set_are_rows_of_their_own() -> None:
    rows = leaderboard({"tuned": [result("s", [1]), result("s", [0, 0], split="dev")]})
    assert [(row.task, row.count) for row in rows] == [("s", 1), ("s (dev)", 2)]


def test_the_table_as_text() -> None:
    heads, lines = leaderboard_table(leaderboard(RESULTS))
    assert heads == ("task", "metric", "n", "BM25", "base", "tuned", "tuned - base")
    assert lines[0][:3] == ("scifact", "ndcg@10", "4")
    assert lines[0][3].startswith("87.5 [")
    assert lines[0][6].startswith("+75.0 [+")
    assert lines[1][3] == "-"
    assert leaderboard_table(leaderboard({"BM25": RESULTS["BM25"]}))[0] == ("task", "metric", "n", "BM25")


def test_rows_are_written_and_read_back(tmp_path: Path) -> None:
    rows = leaderboard(RESULTS)
    write_records(tmp_path / "rows.jsonl", rows)
    assert tuple(read_records(tmp_path / "rows.jsonl", LeaderboardRow)) == rows
