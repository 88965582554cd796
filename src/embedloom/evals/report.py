"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embedloom.evals.charts import Curve, Whisker, curve, figure_axis, figure_ticks, whisker
from embedloom.evals.intervals import Estimate
from embedloom.evals.leaderboard import FILTERS, LeaderboardRow, systems_of, verdict
from embedloom.page.rendering import render
from embedloom.records import Example

TEMPLATES = Path(__file__).parent / "templates"
EXAMPLE_CHARACTERS = 600
HIT_CHARACTERS = 280
COUNTED_ROWS = 15
"""Rows of a table of counts that are shown; what is beyond them is summed up in one."""


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One optimizer step."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True, slots=True)
class TrainingScore:
    """The figure on the development sets behind so many steps."""

    step: int
    score: float


@dataclass(frozen=True, slots=True)
class StageLine:
    """One stage of the run: how long it took, and what it made in a few words."""

    name: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """A table of counts, such as examples by family or rejects by rule."""

    title: str
    counts: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class ReportHit:
    """A document found; `relevant` is None where nobody judged it."""

    document_id: str
    text: str
    score: float
    relevant: bool | None = None


@dataclass(frozen=True, slots=True)
class ReportSearch:
    """A query and what was found for it, best first."""

    query: str
    hits: tuple[ReportHit, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page shows. Empty parts are left out of it.

    Attributes:
        title: of the page, such as the run's name.
        model: name of the tuned model.
        base: name of the model it was made from.
        fingerprint: content hash of the tuned model.
        tuned_system: which system of the leaderboard is the tuned model.
        base_system: which is the base model.
        rows: the leaderboard.
        steps: of training.
        scores: on the development sets, between steps.
        stages: of the run.
        tallies: counts of the data.
        examples: some rows of the training data.
        searches: some queries with their hits.
        recipe: the settings, as text.
        versions: {package: version}.
        notes: other facts, {name: value}, such as machine, commit and licence.
        data_page: file beside the page that describes the data; "" if there is none.
    """

    title: str
    model: str
    base: str = ""
    fingerprint: str = ""
    tuned_system: str = "tuned"
    base_system: str = "base"
    rows: tuple[LeaderboardRow, ...] = ()
    steps: tuple[TrainingStep, ...] = ()
    scores: tuple[TrainingScore, ...] = ()
    stages: tuple[StageLine, ...] = ()
    tallies: tuple[Tally, ...] = ()
    examples: tuple[Example, ...] = ()
    searches: tuple[ReportSearch, ...] = ()
    recipe: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    data_page: str = ""


def render_report(report: Report) -> str:
    """The page as HTML. Whatever comes from data or models is escaped; no script, nothing is loaded."""
    systems = systems_of(report.rows)
    low, high = figure_axis(figure.estimate for row in report.rows for figure in row.figures)
    gains = verdict(row.difference for row in report.rows)
    view = {
        "report": report,
        "systems": systems,
        "marks": {system: _mark(system, report, systems) for system in systems},
        "rows": [_row_view(row, systems, low, high) for row in report.rows],
        "ticks": figure_ticks(low, high),
        "verdict": {**gains, "sets": sum(gains.values())},
        "sentences": [(row.task, row.instruction) for row in report.rows],
        "curves": training_curves(report.steps, report.scores),
        "counts": [tally_view(tally) for tally in report.tallies if tally.counts],
        "example_characters": EXAMPLE_CHARACTERS,
        "hit_characters": HIT_CHARACTERS,
    }
    return render(TEMPLATES, "report.html", view, filters={**FILTERS, "duration": duration})


@dataclass(frozen=True, slots=True)
class _RowView:
    row: LeaderboardRow
    cells: dict[str, Estimate | None]
    whiskers: dict[str, Whisker]
    best: str


@dataclass(frozen=True, slots=True)
class TallyView:
    """A table of counts as bars: (name, count, per cent of the longest bar)."""

    title: str
    total: int
    lines: list[tuple[str, int, float]]


def _row_view(row: LeaderboardRow, systems: Sequence[str], low: float, high: float) -> _RowView:
    figures = {figure.system: figure.estimate for figure in row.figures}
    finite = {system: estimate for system, estimate in figures.items() if estimate.known}
    return _RowView(
        row,
        {system: figures.get(system) for system in systems},
        {system: whisker(estimate, low, high) for system, estimate in finite.items()},
        max(finite, key=lambda system: finite[system].value, default=""),
    )


def _mark(system: str, report: Report, systems: Sequence[str]) -> str:
    """Class of a system's mark: the tuned and the base model have their own, the others take turns."""
    if system == report.tuned_system:
        return "tuned"
    if system == report.base_system:
        return "base"
    others = [one for one in systems if one not in (report.tuned_system, report.base_system)]
    return f"other{others.index(system) % 3}"


def training_curves(steps: Sequence[TrainingStep], scores: Sequence[TrainingScore] = ()) -> list[tuple[str, Curve]]:
    """Loss, learning rate and gradient norm as charts with their titles; those with fewer than two points left out."""
    numbers = [float(step.step) for step in steps]
    found = [
        ("Loss", curve(numbers, [step.loss for step in steps], smooth=True)),
        ("Development score", curve([float(one.step) for one in scores], [100 * one.score for one in scores])),
        ("Learning rate", curve(numbers, [step.learning_rate for step in steps])),
        ("Gradient norm", curve(numbers, [step.gradient_norm for step in steps], smooth=True)),
    ]
    return [(title, one) for title, one in found if one is not None]


def tally_view(tally: Tally) -> TallyView:
    """The largest counts of a table, and the sum of the others."""
    counts = sorted(tally.counts, key=lambda item: -item[1])
    shown = counts if len(counts) <= COUNTED_ROWS + 1 else counts[:COUNTED_ROWS]
    rest = counts[len(shown) :]
    if rest:
        shown = [*shown, (f"{len(rest)} others", sum(count for _, count in rest))]
    largest = max((count for _, count in shown), default=0) or 1
    total = sum(count for _, count in counts)
    return TallyView(tally.title, total, [(name, count, 100 * count / largest) for name, count in shown])


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
