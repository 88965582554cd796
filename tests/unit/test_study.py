"""The table of a study: differences are paired, verdicts follow the intervals, the page shows what the table says."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from embedloom.evals.intervals import Estimate, difference_estimate, mean_estimate
from embedloom.evals.study import (
    AGREES,
    DISAGREES,
    OPEN,
    CellOutcome,
    Cost,
    KeptResult,
    mean_of,
    study_markdown,
    study_records,
    study_table,
)
from embedloom.evals.study_page import study_page


def result(task: str, items: list[float]) -> KeptResult:
    estimate = mean_estimate(np.array(items))
    return KeptResult(
        task, "retrieval", "test", "ndcg@10", estimate.value, estimate.interval, len(items), "", 1.0, tuple(items)
    )


def cells(shift: float, paper: float = 60.0) -> list[CellOutcome]:
    """A reference, and a cell that is better by `shift` on every item, give or take a little."""
    generator = np.random.default_rng(1)
    base = {task: generator.uniform(0.2, 0.8, 40) for task in ("one", "two")}
    theirs = tuple(result(task, list(items)) for task, items in base.items())
    noise = {task: generator.normal(0, 0.01, 40) for task in base}
    ours = tuple(result(task, list(items + shift + noise[task])) for task, items in base.items())
    return [
        CellOutcome("plain", "the plain one", 64.5, theirs, cost=Cost(10.0, 4.0, 1234, 5)),
        CellOutcome("new", "the new one", paper, ours, {"rows kept": 7.0, "distinct words": 0.25}),
        CellOutcome("broken", "a | broken one", None, failure="no such file <b>"),
    ]


def test_differences_are_paired_item_by_item() -> None:
    study = study_table("s", "Which?", "plain", cells(-0.1))
    plain, new, broken = study.rows
    for place, task in enumerate(("one", "two")):
        ours, theirs = (np.array(row.cell.results[place].items) for row in (new, plain))
        assert new.differences[task] == difference_estimate(ours, theirs)
    assert new.difference is not None
    assert new.difference.value == pytest.approx(-0.1, abs=0.01)
    # Paired: far narrower than the figures' own intervals.
    assert new.mean is not None
    assert new.difference.high - new.difference.low < 0.2 * (new.mean.high - new.mean.low)
    assert (plain.difference, broken.mean, broken.difference) == (None, None, None)


@pytest.mark.parametrize(
    ("shift", "paper", "verdict"),
    [
        (-0.1, 60.0, AGREES), (0.1, 60.0, DISAGREES), (0.0, 60.0, OPEN), (0.1, 70.0, AGREES),
        (0.0, 64.3, AGREES), (0.1, 64.3, DISAGREES),
    ],
)  # fmt: skip
def test_the_verdict_follows_the_interval(shift: float, paper: float, verdict: str) -> None:
    assert study_table("s", "", "plain", cells(shift, paper)).rows[1].verdict == verdict


def test_a_mean_is_narrower_than_its_parts() -> None:
    found = mean_of([Estimate(0.4, 0.3, 0.6), Estimate(0.6, 0.5, 0.8)])
    assert found.value == pytest.approx(0.5)
    assert found.low == pytest.approx(0.5 - math.sqrt(0.02) / 2)
    assert found.high == pytest.approx(0.5 + math.sqrt(0.08) / 2)


def test_cells_that_were_measured_on_other_items_are_not_compared() -> None:
    one, two, _ = cells(0.1)
    short = tuple(result(r.task, list(r.items[:-1])) for r in two.results)
    row = study_table("s", "", "plain", [one, CellOutcome("new", "n", results=short)]).rows[1]
    assert row.mean is not None
    assert (row.difference, dict(row.differences)) == (None, {})


def test_table_records_and_page_say_the_same_and_escape() -> None:
    study = study_table("s", "Which is <better>?", "plain", cells(-0.1), limit=40)
    text, page = study_markdown(study), study_page(study)
    records = [json.loads(json.dumps(one)) for one in study_records(study)]
    assert [(one["cell"], one["task"]) for one in records] == [
        ("plain", "one"), ("plain", "two"), ("plain", "mean"), ("new", "one"), ("new", "two"), ("new", "mean"),
        ("broken", "mean"),
    ]  # fmt: skip
    mean = study.rows[1].mean
    assert mean is not None
    assert f"{100 * mean.value:.1f} [" in text
    assert f"{100 * mean.value:.1f}<span" in page
    assert "a \\| broken one" in text
    assert "no such file &lt;b&gt;" in page
    assert "Which is &lt;better&gt;?" in page
    for there in ("1,234", "40 items", "0.25", "agrees"):
        assert there in text, there
        assert there in page, there
    for absent in ("http://", "https://", "<script", "@import", "url("):
        assert absent not in page


def test_the_page_has_a_column_for_the_paper_only_if_the_paper_says_something() -> None:
    with_paper = study_page(study_table("s", "", "plain", cells(0.1)))
    assert '<th scope="col">Paper</th>' in with_paper
    assert ("4 s shared" in with_paper, "1,234 tokens" in with_paper, "5 prompts" in with_paper) == (True,) * 3
    without = [replace(cell, paper=None) for cell in cells(0.1)]
    page = study_page(study_table("s", "", "plain", without))
    assert "Paper" not in page
    rows = page.split("<tbody>")[1].split("</tbody>")[0].split("</tr>")[:-1]
    assert {row.count("<td") for row in rows} == {page.split("</thead>")[0].count("<th ")}


def test_a_page_of_nothing_yet_is_a_page() -> None:
    study = study_table("s", "", "a", [CellOutcome("a", "a", failure="not run yet")])
    assert "not run yet" in study_page(study)
    assert "0 of 1 cells" in study_markdown(study)
