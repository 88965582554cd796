"""Several models side by side: means, paired differences, languages, and the pages that show them."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from embedloom.errors import DataError
from embedloom.evals.comparison import Comparison, compare
from embedloom.evals.comparison_page import (
    ComparisonPage,
    ModelNote,
    RunSummary,
    comparison_html,
    comparison_markdown,
    comparison_table,
)
from embedloom.evals.intervals import mean_estimate, resampled_means, spearman_estimate
from embedloom.evals.measured import measured, results_by_model
from embedloom.evals.report import Tally, TrainingScore, TrainingStep
from embedloom.evals.result import Measure, SetResult
from embedloom.evals.robustness import Invariance, Spread
from embedloom.evals.speed import Speed
from pages import HOSTILE, Page, hostile

GOLD = np.arange(40.0)


def result(task: str, family: str, level: float, *, seed: int = 0, count: int = 40, limit: str = "") -> SetResult:
    """A model that is right in about `level` of the items, or whose cosines go with gold so much."""
    draw = np.random.default_rng(seed)
    if family == "sts":
        items = GOLD * level + draw.normal(0, 12, len(GOLD))
        measure = Measure("spearman", spearman_estimate(GOLD, items))
        return SetResult(task, family, "test", (measure,), items, GOLD, "Same?", len(GOLD), 1.0)
    items = (draw.uniform(size=count) < level).astype(float)
    measure = Measure({"retrieval": "ndcg@10", "bitext": "f1"}[family], mean_estimate(items))
    return SetResult(task, family, "test", (measure,), items, np.empty(0), "Find it", count, 1.0, limit)


RESULTS = {
    "base": [
        result("scifact", "retrieval", 0.1),
        result("tatoeba-deu-eng", "bitext", 0.3),
        result("tatoeba-swh-eng", "bitext", 0.1),
        result("tatoeba-lfn-eng", "bitext", 0.2),
        result("stsbenchmark", "sts", 0.2),
    ],
    "tuned": [
        result("scifact", "retrieval", 0.8),
        result("tatoeba-deu-eng", "bitext", 0.9),
        result("tatoeba-swh-eng", "bitext", 0.1),
        result("tatoeba-lfn-eng", "bitext", 0.5),
        result("stsbenchmark", "sts", 1.0),
    ],
    "bm25": [result("scifact", "retrieval", 0.6)],
}


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(RESULTS, baseline="base")


def test_languages_make_one_row_that_is_their_mean(comparison: Comparison) -> None:
    assert [(row.name, row.family, row.languages, row.count) for row in comparison.rows] == [
        ("scifact", "retrieval", 0, 40),
        ("stsbenchmark", "sts", 0, 40),
        ("tatoeba", "bitext", 3, 120),
    ]
    row = comparison.rows[2]
    values = {name: [one.main.estimate.value for one in found[1:4]] for name, found in RESULTS.items() if found[1:]}
    for model, of_languages in values.items():
        cell = row.cells[model]
        assert cell.figure.value == pytest.approx(np.mean(of_languages))
        assert cell.figure.low < cell.figure.value < cell.figure.high
    difference = row.cells["tuned"].difference
    assert difference is not None
    assert difference.value == pytest.approx(np.mean(values["tuned"]) - np.mean(values["base"]))
    assert difference.low > 0
    # A mean of three sets is surer than one of them.
    assert row.cells["tuned"].figure.high - row.cells["tuned"].figure.low < 0.2


def test_differences_are_paired(comparison: Comparison) -> None:
    ours, theirs = RESULTS["tuned"][0].items, RESULTS["base"][0].items
    difference = comparison.rows[0].cells["tuned"].difference
    assert difference is not None
    assert difference.value == pytest.approx((ours - theirs).mean())
    drawn = resampled_means([ours - theirs])[:, 0]
    assert (difference.low, difference.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.03)
    assert comparison.rows[0].cells["base"].difference is None


def test_families_count_alike_and_a_model_without_all_has_no_mean(comparison: Comparison) -> None:
    assert list(comparison.averages) == ["retrieval", "sts", "bitext"]
    of_rows = [row.cells["tuned"].figure.value for row in comparison.rows]
    assert comparison.overall["tuned"].figure.value == pytest.approx(np.mean(of_rows))
    assert "bm25" not in comparison.overall
    assert "bm25" in comparison.averages["retrieval"]
    assert comparison.verdict("tuned") == {"ahead": 3, "behind": 0, "open": 0}
    assert comparison.verdict("bm25") == {"ahead": 1, "behind": 0, "open": 0}


def test_languages_are_grouped_by_how_much_text_they_have(comparison: Comparison) -> None:
    (table,) = comparison.languages
    assert [(line.language.name, line.language.resources) for line in table.lines] == [
        ("German", "high"),
        ("Lingua Franca Nova", "low"),
        ("Swahili", "low"),
    ]
    assert [(name, size) for name, (size, _) in table.classes.items()] == [("high", 1), ("low", 2)]
    low = table.classes["low"][1]["tuned"].figure.value
    assert low == pytest.approx(np.mean([RESULTS["tuned"][place].main.estimate.value for place in (2, 3)]))


def test_what_can_not_be_compared_is_said() -> None:
    with pytest.raises(DataError, match="no results of the baseline 'x'; expected one of base, tuned, bm25"):
        compare(RESULTS, baseline="x")
    with pytest.raises(DataError, match="there are no results to compare"):
        compare({"base": []})
    other = {"base": RESULTS["base"][:1], "tuned": [result("scifact", "retrieval", 0.5, count=30)]}
    with pytest.raises(DataError, match="scifact: models were measured on different rows"):
        compare(other)


def test_results_come_back_from_disk_as_they_were() -> None:
    lines = [measured(r, model=m, fingerprint="f", content="c") for m, found in RESULTS.items() for r in found]
    again = results_by_model(lines)
    assert {model: [r.task for r in found] for model, found in again.items()} == {
        model: [r.task for r in found] for model, found in RESULTS.items()
    }
    for before, after in zip(RESULTS["tuned"], again["tuned"], strict=True):
        assert before.measures == after.measures
        np.testing.assert_allclose(before.items, after.items, atol=1e-8)
        np.testing.assert_array_equal(before.gold, after.gold)


def test_the_table_as_text(comparison: Comparison) -> None:
    heads, lines = comparison_table(comparison)
    assert heads == ("task", "metric", "n", "base", "tuned", "bm25")
    assert [line[0] for line in lines] == ["scifact", "stsbenchmark", "tatoeba, 3 languages", "mean of the families"]
    assert "(+" in lines[0][4]
    assert lines[1][5] == "–"


@pytest.fixture
def page(comparison: Comparison) -> ComparisonPage:
    return ComparisonPage(
        title="Four models",
        comparison=comparison,
        models=(ModelNote("base", "registry:gemma3-270m", "f0", 640, "a licence"), ModelNote("bm25", "bm25")),
        speeds={"base": Speed("base", "f0", 900, 90_000, 9.0, 2, "a processor")},
        runs=(
            RunSummary(
                "tuned",
                base="registry:gemma3-270m",
                rows=120,
                steps=tuple(TrainingStep(step, 3 / (step + 1), 1e-3, 1.0) for step in range(30)),
                scores=(TrainingScore(10, 0.5), TrainingScore(20, 0.6)),
                tallies=(Tally("Training rows by family", (("sts", 20), ("grounded", 100))),),
                data_page="runs/x/data.html",
            ),
        ),
        spreads=(Spread("tuned", "scifact", "ndcg@10", 4, 0.8, 0.7, 0.82, 0.01, 0.2, "Bad words", "Good words"),),
        invariances=(Invariance("tuned", "batch and order", 16, 1e-7, 1e-4),),
        versions={"torch": "2.13.0"},
    )


def test_the_page_shows_all_parts_and_needs_nothing_but_itself(page: ComparisonPage) -> None:
    text = comparison_html(page)
    found = Page(text)
    assert found.open == []
    for words in (
        "Four models", "3 models on 3 sets", "(5 with each language by itself)", "ahead on 3",
        "High resource: mean of 1",
        "Lingua Franca Nova °", "Good words", "10,000 characters/s", "2 processes", "120 rows", "a licence",
        "Training rows by family", "mean of 3 languages", "2.13.0",
    ):  # fmt: skip
        assert words in " ".join(found.text.split()), words
    assert {"script", "link", "img", "iframe", "a", "object"}.isdisjoint(tag for tag, _ in found.tags)
    assert not any({"src", "href"} & set(attributes) for _, attributes in found.tags)
    assert "url(" not in text


def test_the_text_has_the_same_figures_in_whole_tables(page: ComparisonPage) -> None:
    text = comparison_markdown(page)
    assert "\n\n\n" not in text
    for words in ("# Four models", "## Averages", "## Sets", "## Languages", "| German | high | 40 |", "## Speed"):
        assert words in text, words
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 6
    for table in tables:
        widths = {line.count("|") - line.count("\\|") for line in table.splitlines()}
        assert len(widths) == 1, table


def test_a_page_of_one_model_and_one_set_is_whole() -> None:
    page = ComparisonPage("One", compare({"only": [result("scifact", "retrieval", 0.5, limit="40 of 80 queries")]}))
    assert Page(comparison_html(page)).open == []
    assert "40 of 80 queries" in comparison_html(page)
    assert "(40 of 80 queries)" in comparison_markdown(page)


def test_a_negative_correlation_has_its_place() -> None:
    page = ComparisonPage("One", compare({"only": [result("s", "sts", -1.0)]}))
    assert "left:-" not in comparison_html(page)
    assert "width:-" not in comparison_html(page)


def test_text_that_wants_to_be_markup_stays_text(page: ComparisonPage) -> None:
    results = {HOSTILE: [dataclasses.replace(one, instruction=HOSTILE) for one in RESULTS["tuned"]]}
    told = {field.name: hostile(getattr(page, field.name)) for field in dataclasses.fields(page)}
    told |= {"comparison": compare(results), "speeds": {HOSTILE: hostile(page.speeds["base"])}}
    found = Page(comparison_html(ComparisonPage(**told)))
    assert found.open == []
    assert {"script", "img"}.isdisjoint(tag for tag, _ in found.tags)
    assert "{{ 7*7 }}" in found.text
    assert "<script>" not in comparison_markdown(ComparisonPage(**told)).replace("\\<script", "")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [500, 1200])
def test_a_browser_shows_it_without_anything_beyond_the_window(
    page: ComparisonPage, tmp_path: Path, width: int
) -> None:
    # The page says itself, in its title, how wide it became; its own policy would forbid that, and is taken out.
    text = comparison_html(page).replace('<meta http-equiv="Content-Security-Policy"', "<meta data-was")
    script = "<script>document.title = document.documentElement.scrollWidth + ' of ' + window.innerWidth</script>"
    (tmp_path / "page.html").write_text(text.replace("</body>", f"{script}</body>"), encoding="utf-8")
    picture = tmp_path / "page.png"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},3000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}"]
    address = (tmp_path / "page.html").as_uri()
    subprocess.run([*command, f"--screenshot={picture}", address], check=True, capture_output=True, timeout=240)
    assert picture.read_bytes().startswith(b"\x89PNG")
    # A page of one colour packs into a few kilobytes.
    assert picture.stat().st_size > 30_000
    done = subprocess.run([*command, "--dump-dom", address], check=True, capture_output=True, text=True, timeout=240)
    content, _, window = done.stdout.partition("<title>")[2].partition("</title>")[0].partition(" of ")
    assert int(content) <= int(window)
