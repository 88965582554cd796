"""The report page: whole, self-contained, and safe with text that nobody vouches for."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from embedloom.evals.charts import axis, curve, whisker
from embedloom.evals.intervals import Estimate
from embedloom.evals.leaderboard import LeaderboardRow, SystemFigure
from embedloom.evals.report import Report, ReportHit, ReportSearch, StageLine, Tally, TrainingStep, render_report
from embedloom.records import Example
from pages import Page, hostile


def row(task: str, base: float, tuned: float, gain: tuple[float, float]) -> LeaderboardRow:
    return LeaderboardRow(
        task=task,
        metric="ndcg@10",
        family="retrieval",
        count=1190,
        instruction="Find it",
        figures=(
            SystemFigure("BM25", Estimate(0.688, 0.64, 0.73)),
            SystemFigure("base", Estimate(base, base - 0.02, base + 0.02)),
            SystemFigure("tuned", Estimate(tuned, tuned - 0.02, tuned + 0.02)),
        ),
        difference=Estimate(tuned - base, *gain),
    )


FULL = Report(
    title="quickstart",
    model="tuned model",
    base="registry:gemma3-270m",
    fingerprint="8e1a6e7b",
    rows=(row("scifact", 0.007, 0.571, (0.5, 0.6)), row("xquad-ar", 0.2, 0.21, (-0.01, 0.03))),
    steps=tuple(TrainingStep(i, 3 / (i + 1), 1e-3 * (1 - i / 40), 2.0 + i % 3) for i in range(40)),
    stages=(StageLine("generate", 502, "1,024 asked"), StageLine("train", 3725.0)),
    tallies=(Tally("Rejects by rule", (("too short", 17), ("duplicate", 40))), Tally("Nothing", ())),
    examples=(Example("Find", "a query", ("a positive",), ("a negative",), family="grounded", language="English"),),
    searches=(ReportSearch("copy a file", (ReportHit("shutil.copy", "Copy it", 0.8125, True),)), ReportSearch("x", ())),
    recipe="[train]\nsteps = 40",
    versions={"torch": "2.13.0"},
    notes={"Commit": "26bdb08"},
)


def text_of(page: str) -> str:
    return " ".join(Page(page).text.split())


def test_the_page_says_what_the_run_gave() -> None:
    page = Page(render_report(FULL))
    assert page.open == []
    text = " ".join(page.text.split())
    for words in (
        "ahead of its base on 1 of 2 sets; on 1 the difference may be chance",
        "57.1 55.1 to 59.1",
        "+56.4 +50.0 to +60.0",
        "n = 1,190",
        "8 min 22 s",
        "1 h 02 min",
        "57 in all duplicate 40 too short 17",
        "✓ relevant",
        "0.812",
        "Nothing was found.",
        "steps = 40",
        "26bdb08",
    ):
        assert words in text, words
    assert "Nothing 0" not in text
    assert sum(tag == "polyline" for tag, _ in page.tags) == 5


def test_nothing_is_loaded_and_nothing_runs() -> None:
    page = Page(render_report(FULL))
    assert {"script", "link", "img", "iframe", "a", "object"}.isdisjoint(tag for tag, _ in page.tags)
    for _, attributes in page.tags:
        assert not {"src", "href"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert "http://" not in render_report(FULL)
    assert "url(" not in render_report(FULL)
    policy = next(attributes for tag, attributes in page.tags if attributes.get("http-equiv"))
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_the_page_on_the_data_is_linked_where_there_is_one() -> None:
    page = Page(render_report(dataclasses.replace(FULL, tallies=(), data_page="data.html")))
    assert [attributes.get("href") for tag, attributes in page.tags if tag == "a"] == ["data.html"]
    assert "What was asked for" in page.text
    assert "What was asked for" not in text_of(render_report(FULL))


def test_text_that_wants_to_be_markup_stays_text() -> None:
    report = hostile(FULL)
    assert isinstance(report, Report)
    page = Page(render_report(report))
    assert page.open == []
    assert {"script", "img"}.isdisjoint(tag for tag, _ in page.tags)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count("<script>alert(1)</script>") > 10
    assert "{{ 7*7 }}" in page.text


def test_an_empty_report_is_a_page_without_empty_parts() -> None:
    text = text_of(render_report(Report(title="Run", model="m")))
    assert text == "Run · embedloom Run m"


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ([(-0.3, -0.1)], "behind on 1 of 1 set."),
        ([(-0.1, 0.1)], "neither ahead nor behind on any of 1 set."),
        ([(0.1, 0.2), (-0.2, -0.1)], "ahead of its base on 1 of 2 and behind on 1 of 2 sets."),
    ],
)
def test_the_verdict_follows_the_intervals(gains: list[tuple[float, float]], words: str) -> None:
    rows = tuple(row(f"set{i}", 0.4, 0.5, gain) for i, gain in enumerate(gains))
    assert words in text_of(render_report(dataclasses.replace(FULL, rows=rows)))


def test_figures_that_are_not_known_leave_gaps() -> None:
    nan = float("nan")
    unknown = LeaderboardRow("s", "spearman", "sts", 3, "", (SystemFigure("tuned", Estimate(nan, nan, nan)),), None)
    steps = (TrainingStep(0, nan, 1e-3, 1.0), TrainingStep(1, 2.0, 1e-3, 1.0), TrainingStep(2, math.inf, 1e-3, 1.0))
    page = render_report(dataclasses.replace(FULL, rows=(unknown,), steps=steps))
    assert not re.search(r"\b(nan|inf)\b", page.split("</style>")[1], re.IGNORECASE)
    assert "n = 3 – Training" in text_of(page)


def test_long_texts_are_cut_and_many_counts_summed_up() -> None:
    tally = Tally("Languages", tuple((f"language {i}", 1) for i in range(40)))
    example = Example("", "q" * 5000, ("p",))
    page = text_of(render_report(dataclasses.replace(FULL, tallies=(tally,), examples=(example,))))
    assert "25 others 25" in page
    assert "40 in all" in page
    assert "q" * 599 + "…" in page
    assert "q" * 600 not in page


@pytest.mark.parametrize(
    ("values", "low", "high", "labels"),
    [
        ([0.3, 3.7], 0, 4, ["0", "1", "2", "3", "4"]),
        ([0, 1], 0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([5, 5], 2, 8, ["2", "3", "4", "5", "6", "7", "8"]),
        ([0, 0.001], 0, 0.001, ["0", "2e-04", "4e-04", "6e-04", "8e-04", "1e-03"]),
        ([-30, 1200], -500, 1500, ["-500", "0", "500", "1,000", "1,500"]),
    ],
)
def test_axes_have_round_numbers(values: list[float], low: float, high: float, labels: list[str]) -> None:
    found_low, found_high, ticks = axis(values)
    assert (found_low, found_high) == pytest.approx((low, high))
    assert [tick.label for tick in ticks] == labels
    assert (ticks[0].at, ticks[-1].at) == (0, 100)


def test_a_curve_runs_from_left_to_right_and_up_is_more() -> None:
    found = curve([1, 2, 3], [0.0, 1.0, 4.0])
    assert found is not None
    assert found.points == "0.00,100.00 50.00,75.00 100.00,0.00"
    assert found.smooth == ""
    assert curve([1, 2], [float("nan"), 1.0]) is None
    assert curve([], []) is None


def test_a_running_mean_smooths() -> None:
    found = curve(list(range(24)), [float(i % 2) for i in range(24)], smooth=True)
    assert found is not None
    heights = [float(point.split(",")[1]) for point in found.smooth.split()[1:]]
    assert heights == [50.0] * 23


def test_whiskers_stay_on_the_axis() -> None:
    found = whisker(Estimate(0.95, 0.9, 1.1), 0, 1)
    assert (found.at, found.low, found.high) == (95, 90, 100)
    bare = whisker(Estimate(0.5, float("nan"), float("nan")), 0, 1)
    assert (bare.at, bare.low, bare.high) == (50, 50, 50)
