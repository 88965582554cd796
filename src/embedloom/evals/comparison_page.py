"""The leaderboard of several models as a page that needs nothing but itself, and as text in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedloom.evals.charts import Curve, Tick, Whisker, figure_axis, figure_ticks, whisker
from embedloom.evals.comparison import FAMILIES, Cell, Comparison, ComparisonRow, LanguageTable
from embedloom.evals.languages import CLASSES, SOURCE
from embedloom.evals.leaderboard import FILTERS, figure_text, signed_text
from embedloom.evals.report import Tally, TallyView, TrainingScore, TrainingStep, duration, tally_view, training_curves
from embedloom.evals.robustness import Invariance, Spread
from embedloom.evals.speed import Speed
from embedloom.page.rendering import render

TEMPLATES = Path(__file__).parent / "templates"
COLOURS = 8
"""Models that differ in colour; beyond them they repeat."""


@dataclass(frozen=True, slots=True)
class ModelNote:
    """A model of the leaderboard: what it is called, where it came from, and what it is."""

    label: str
    model: str
    fingerprint: str = ""
    dimension: int = 0
    licence: str = ""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run folder tells of its model: the training's steps and counts of its data.

    `data_page` is the path of the run's page on its data; "" without one.
    """

    label: str
    base: str = ""
    rows: int = 0
    steps: tuple[TrainingStep, ...] = ()
    scores: tuple[TrainingScore, ...] = ()
    tallies: tuple[Tally, ...] = ()
    data_page: str = ""


@dataclass(frozen=True, slots=True)
class ComparisonPage:
    """All that the page shows. Empty parts are left out of it."""

    title: str
    comparison: Comparison
    models: tuple[ModelNote, ...] = ()
    speeds: Mapping[str, Speed] = field(default_factory=dict)
    runs: tuple[RunSummary, ...] = ()
    spreads: tuple[Spread, ...] = ()
    invariances: tuple[Invariance, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


def comparison_html(page: ComparisonPage) -> str:
    """The page as HTML. Whatever comes from data or models is escaped; no script, nothing is loaded."""
    return render(TEMPLATES, "comparison.html", _view(page), filters=_FILTERS)


def comparison_markdown(page: ComparisonPage) -> str:
    """The same as text."""
    text = render(TEMPLATES, "comparison.md", _view(page), filters=_FILTERS, escape=False)
    return text.rstrip() + "\n"


@dataclass(frozen=True, slots=True)
class _Bar:
    model: str
    colour: str
    cell: Cell
    whisker: Whisker
    best: bool


@dataclass(frozen=True, slots=True)
class _Bars:
    bars: list[_Bar]
    zero: float
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class _Card:
    row: ComparisonRow
    bars: _Bars


@dataclass(frozen=True, slots=True)
class _Dots:
    name: str
    label: str
    listed: bool
    count: int
    dots: list[tuple[str, str, float, str]]
    cells: Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    size: int
    bars: _Bars
    lines: list[_Dots]
    means: Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class _RunView:
    run: RunSummary
    curves: list[tuple[str, Curve]]
    tallies: list[TallyView]


def _view(page: ComparisonPage) -> dict[str, Any]:
    comparison = page.comparison
    colours = _colours(comparison)
    families = list(comparison.averages)
    fastest = max((speed.characters_per_second for speed in page.speeds.values()), default=0.0)
    return {
        "page": page,
        "comparison": comparison,
        "colours": colours,
        "families": [(name, FAMILIES[name]) for name in families],
        "best": {name: _best(cells) for name, cells in (*comparison.averages.items(), ("", comparison.overall))},
        "verdicts": [(model, comparison.verdict(model)) for model in comparison.models if model != comparison.baseline]
        if comparison.baseline
        else [],
        "cards": {name: [_card(row, colours) for row in comparison.rows if row.family == name] for name in families},
        "languages": [(table, _groups(table, colours)) for table in comparison.languages],
        "source": SOURCE,
        "sentences": [(row.name, row.instruction) for row in comparison.rows],
        "runs": [
            _RunView(run, training_curves(run.steps, run.scores), list(map(tally_view, run.tallies)))
            for run in page.runs
        ],
        "speeds": [
            (speed, colours.get(model, "c0"), 100 * speed.characters_per_second / fastest if fastest else 0.0)
            for model, speed in page.speeds.items()
            if model in comparison.models
        ],
        "rows": len(comparison.rows),
        "sets": sum(row.languages or 1 for row in comparison.rows),
    }


def _colours(comparison: Comparison) -> dict[str, str]:
    """Class of a model's bars: the baseline is grey, the others take turns."""
    others = [model for model in comparison.models if model != comparison.baseline]
    found = {model: f"c{place % COLOURS}" for place, model in enumerate(others)}
    return {model: found.get(model, "baseline") for model in comparison.models}


def _card(row: ComparisonRow, colours: Mapping[str, str]) -> _Card:
    return _Card(row, _bars(row.cells, colours))


def _bars(cells: Mapping[str, Cell], colours: Mapping[str, str], ends: tuple[float, float] | None = None) -> _Bars:
    known = {model: cell for model, cell in cells.items() if cell.figure.known}
    low, high = ends or figure_axis(cell.figure for cell in cells.values())
    best = _best(cells)
    bars = [
        _Bar(model, colours[model], known[model], whisker(known[model].figure, low, high), model == best)
        for model in colours
        if model in known
    ]
    ticks = figure_ticks(low, high)
    return _Bars(bars, ticks[0].at, ticks)


def _best(cells: Mapping[str, Cell]) -> str:
    known = {model: cell.figure.value for model, cell in cells.items() if cell.figure.known}
    return max(known, key=lambda model: known[model]) if len(known) > 1 else ""


def _groups(table: LanguageTable, colours: Mapping[str, str]) -> list[_Group]:
    low, high = figure_axis(cell.figure for line in table.lines for cell in line.cells.values())
    groups = []
    for name in CLASSES:
        if name not in table.classes:
            continue
        size, means = table.classes[name]
        lines = [
            _Dots(
                line.language.name,
                line.language.label,
                line.language.listed,
                line.count,
                _dots(line.cells, colours, low, high),
                line.cells,
            )
            for line in table.lines
            if line.language.resources == name
        ]
        groups.append(_Group(name, size, _bars(means, colours, (low, high)), lines, means))
    return groups


def _dots(
    cells: Mapping[str, Cell], colours: Mapping[str, str], low: float, high: float
) -> list[tuple[str, str, float, str]]:
    return [
        (model, colours[model], whisker(cells[model].figure, low, high).at, figure_text(cells[model].figure.value))
        for model in colours
        if model in cells and cells[model].figure.known
    ]


def _text(cell: Cell | None, difference: bool = True) -> str:
    """A cell of a table in Markdown."""
    if cell is None or not cell.figure.known:
        return "–"
    found = f"{figure_text(cell.figure.value)} [{figure_text(cell.figure.low)}, {figure_text(cell.figure.high)}]"
    if difference and cell.difference is not None and cell.difference.known:
        apart = cell.difference
        found += f" ({signed_text(apart.value)} [{signed_text(apart.low)}, {signed_text(apart.high)}])"
    return found


def _plain(text: str) -> str:
    """Text that stays inside its cell of a table in Markdown, and is no markup."""
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())


def comparison_table(comparison: Comparison) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The leaderboard as text cells: heads, a line a row, and a line for each average. Figures are x 100."""
    heads = ("task", "metric", "n", *comparison.models)
    lines = [
        (_named(row), row.metric, f"{row.count:,}", *(_text(row.cells.get(model)) for model in comparison.models))
        for row in comparison.rows
    ]
    lines += [
        (f"mean {FAMILIES[family].lower()}", "", "", *(_text(cells.get(model)) for model in comparison.models))
        for family, cells in comparison.averages.items()
        if sum(row.family == family for row in comparison.rows) > 1
    ]
    if len(comparison.averages) > 1:
        overall = (_text(comparison.overall.get(model)) for model in comparison.models)
        lines.append(("mean of the families", "", "", *overall))
    return heads, lines


def _named(row: ComparisonRow) -> str:
    return f"{row.name}, {row.languages} languages" if row.languages else row.name


_FILTERS: dict[str, Callable[..., Any]] = {
    **FILTERS,
    "duration": duration,
    "text": _text,
    "plain": _plain,
}
