"""The page of a study: its table, and for each set a picture of the cells with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedloom.evals.charts import Tick, Whisker, axis, whisker
from embedloom.evals.intervals import Estimate
from embedloom.evals.leaderboard import FILTERS, figure_text, signed_text
from embedloom.evals.study import AGREES, DISAGREES, Study, StudyRow, number_text
from embedloom.page.rendering import render

TEMPLATES = Path(__file__).parent / "templates"
MEAN = "mean over all sets"


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture: one line a cell, on one axis; `zero` is where the reference stands, in per cent of the axis."""

    title: str
    ticks: tuple[Tick, ...]
    lines: tuple[tuple[StudyRow, Whisker, str], ...]
    zero: float | None


def study_page(study: Study) -> str:
    """The page as HTML; no script, nothing is loaded, whatever comes from data is escaped."""
    names = list(dict.fromkeys(name for row in study.rows for name in row.cell.data))
    view = {
        "study": study,
        "differences": _panel(f"{MEAN}, minus {study.reference}", {row.cell.name: row.difference for row in study.rows
                              if row.difference is not None}, study, signed=True),
        "panels": _panels(study),
        "has_paper": any(row.cell.paper is not None for row in study.rows),
        "kinds": {AGREES: "good", DISAGREES: "bad"},
        "data_names": names,
        "failed": [row.cell for row in study.rows if row.cell.failure],
    }  # fmt: skip
    return render(TEMPLATES, "study.html", view, filters={**FILTERS, "number": number_text})


def _panels(study: Study) -> list[Panel]:
    means = {row.cell.name: row.mean for row in study.rows if row.mean is not None}
    made = [_panel(MEAN, means, study)] if len(study.sets) > 1 else []
    for task, metric in study.sets.items():
        found = {row.cell.name: row.figures[task] for row in study.rows if task in row.figures}
        made.append(_panel(f"{task}, {metric}", found, study))
    return [panel for panel in made if panel is not None]


def _panel(title: str, figures: Mapping[str, Estimate], study: Study, *, signed: bool = False) -> Panel | None:
    known = {name: one for name, one in figures.items() if one.known}
    if not known:
        return None
    ends = [100 * value for one in known.values() for value in (one.low, one.high, one.value)]
    reference = 0.0 if signed else 100 * known[study.reference].value if study.reference in known else None
    low, high, ticks = axis([*ends, *([] if reference is None else [reference])])
    show = signed_text if signed else figure_text
    lines = tuple(
        (row, whisker(_scaled(known[row.cell.name]), low, high), show(known[row.cell.name].value))
        for row in study.rows
        if row.cell.name in known
    )
    zero = None if reference is None else 100 * (reference - low) / (high - low)
    return Panel(title, ticks, lines, zero)


def _scaled(one: Estimate) -> Estimate:
    return Estimate(100 * one.value, 100 * one.low, 100 * one.high)
