"""What a study found: each cell's figures with intervals, its difference to the reference cell, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from embedloom.errors import DataError
from embedloom.evals.intervals import Estimate
from embedloom.evals.leaderboard import figure_text, signed_text
from embedloom.evals.result import Measure, SetResult, paired_difference

EQUAL = 0.5
"""Points of the paper's average that its own ablations may differ by for the two to count as equal."""
AGREES, DISAGREES, OPEN = "agrees", "disagrees", "open"


@dataclass(frozen=True, slots=True)
class KeptResult:
    """One cell on one set, with all that a paired comparison needs later."""

    task: str
    family: str
    split: str
    metric: str
    value: float
    interval: tuple[float, float]
    count: int
    instruction: str
    seconds: float
    items: tuple[float, ...] = ()
    gold: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What a cell took, all of its stages counted, whoever did them; `taken` seconds were another cell's."""

    seconds: float = 0.0
    taken: float = 0.0
    tokens: int = 0
    prompts: int = 0


@dataclass(frozen=True, slots=True)
class CellOutcome:
    """One cell of a study.

    Attributes:
        name: the cell's.
        title: what it is, for people.
        paper: the paper's average for such a cell, in points; None if it has none.
        results: a figure a set; none for a cell that failed or trains nothing.
        data: figures of its training data by name.
        cost: what it took.
        failure: why it could not be finished; "" if it could.
    """

    name: str
    title: str
    paper: float | None = None
    results: tuple[KeptResult, ...] = ()
    data: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    failure: str = ""


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A cell beside the reference: figures by set, `mean` over all sets, and differences, where both have them."""

    cell: CellOutcome
    figures: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    mean: Estimate | None
    difference: Estimate | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Study:
    """The table of a study.

    Attributes:
        name: of the study.
        question: what it asks.
        reference: the cell that the others are compared with.
        sets: names of the sets, with their measure.
        rows: one a cell, in the file's order.
        limit: items of a set that were measured; 0 for all.
    """

    name: str
    question: str
    reference: str
    sets: Mapping[str, str]
    rows: tuple[StudyRow, ...]
    limit: int = 0


def kept(result: SetResult) -> KeptResult:
    """What is kept of a result."""
    main = result.main
    return KeptResult(
        result.task, result.family, result.split, main.name, main.estimate.value, main.estimate.interval, result.count,
        result.instruction, round(result.seconds, 2), tuple(map(float, result.items)), tuple(map(float, result.gold)),
    )  # fmt: skip


def study_table(name: str, question: str, reference: str, cells: Sequence[CellOutcome], *, limit: int = 0) -> Study:
    """The cells beside their reference. Where two have measured a set on other items, there is no difference."""
    against = next((cell for cell in cells if cell.name == reference), None)
    theirs = {one.task: one for one in against.results} if against is not None else {}
    sets = {one.task: one.metric for cell in cells for one in cell.results}
    rows = []
    for cell in cells:
        figures = {one.task: _estimate(one) for one in cell.results}
        differences = {
            one.task: found
            for one in cell.results
            if one.task in theirs and cell.name != reference
            if (found := _difference(one, theirs[one.task])) is not None
        }
        whole = bool(sets) and set(figures) == set(sets)
        difference = mean_of(differences.values()) if set(differences) == set(sets) and sets else None
        papers = None if against is None or cell.paper is None or against.paper is None else cell.paper - against.paper
        rows.append(
            StudyRow(
                cell,
                figures,
                differences,
                mean_of(figures.values()) if whole else None,
                difference,
                _verdict(papers, difference),
            )
        )
    return Study(name, question, reference, sets, tuple(rows), limit)


def mean_of(estimates: Iterable[Estimate]) -> Estimate:
    """The mean of figures of different sets. Their items have nothing in common, so their errors add up squared."""
    found = list(estimates)
    value = sum(one.value for one in found) / len(found)
    below = math.sqrt(sum((one.value - one.low) ** 2 for one in found)) / len(found)
    above = math.sqrt(sum((one.high - one.value) ** 2 for one in found)) / len(found)
    return Estimate(value, value - below, value + above)


def study_markdown(study: Study) -> str:
    """The table as text for people."""
    compared = [row for row in study.rows if row.mean is not None]
    heads = ["cell", *(f"{task} ({metric})" for task, metric in study.sets.items())]
    heads += ["mean", f"mean - {study.reference}", "paper", "and the paper", "seconds", "tokens", "prompts"]
    lines = [f"# {study.name}", "", study.question, ""]
    part = f" At most {study.limit:,} items of a set: not the sets' own figures." if study.limit else ""
    lines += [
        f"Figures x 100 with 95 % bootstrap intervals over items; differences are paired.{part} One training seed: "
        "what another seed would change is not in the intervals.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
    ]
    for row in study.rows:
        cell = row.cell
        cells = [f"{cell.title} (`{cell.name}`)", *(_text(row.figures.get(task)) for task in study.sets)]
        cells += [_text(row.mean), _text(row.difference, signed=True) if cell.name != study.reference else "reference"]
        cells += ["" if cell.paper is None else f"{cell.paper:.1f}", row.verdict]
        cells += [f"{cell.cost.seconds:,.0f}", f"{cell.cost.tokens:,}", f"{cell.cost.prompts:,}"]
        lines.append("| " + " | ".join(one.replace("|", "\\|") for one in cells) + " |")
    names = list(dict.fromkeys(name for row in study.rows for name in row.cell.data))
    if names:
        lines += [
            "",
            "Data, before training:",
            "",
            "| cell | " + " | ".join(names) + " |",
            "|" + "---|" * (len(names) + 1),
        ]
        for row in study.rows:
            if row.cell.data:
                told = (number_text(row.cell.data.get(name)) for name in names)
                lines.append(f"| `{row.cell.name}` | " + " | ".join(told) + " |")
    failed = [row.cell for row in study.rows if row.cell.failure]
    if failed:
        lines += ["", "Not finished:", "", *(f"- `{cell.name}`: {cell.failure}" for cell in failed)]
    lines += ["", f"{len(compared)} of {len(study.rows)} cells can be compared on every set.", ""]
    return "\n".join(lines)


def study_records(study: Study) -> list[dict[str, object]]:
    """One JSON object for each cell and set, and one for the mean over sets."""
    out: list[dict[str, object]] = []
    for row in study.rows:
        cell = row.cell
        told: dict[str, object] = {"study": study.name, "cell": cell.name, "title": cell.title}
        cost = {"seconds": cell.cost.seconds, "tokens": cell.cost.tokens, "prompts": cell.cost.prompts}
        for one in cell.results:
            found: dict[str, object] = {"task": one.task, "metric": one.metric, "count": one.count}
            found |= _figures(row.figures[one.task], row.differences.get(one.task))
            out.append({**told, **found, "instruction": one.instruction})
        mean: dict[str, object] = {} if row.mean is None else _figures(row.mean, row.difference)
        data = {"data": dict(cell.data)} if cell.data else {}
        failure = {"failure": cell.failure} if cell.failure else {}
        paper = {} if cell.paper is None else {"paper": cell.paper, "verdict": row.verdict}
        out.append({**told, "task": "mean", **mean, **paper, **data, **failure, **cost})
    return out


def number_text(value: float | None) -> str:
    """A figure of the data: a count whole, a share with two decimals."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.2f}"


def _figures(estimate: Estimate, difference: Estimate | None) -> dict[str, object]:
    out: dict[str, object] = {"value": estimate.value, "interval": list(estimate.interval)}
    if difference is not None:
        out |= {"difference": difference.value, "difference_interval": list(difference.interval)}
    return out


def _verdict(paper: float | None, ours: Estimate | None) -> str:
    """Whether our difference says what the paper's says; open where chance may have made it."""
    if paper is None or ours is None or not ours.known:
        return ""
    sure = ours.low > 0 or ours.high < 0
    if abs(paper) <= EQUAL:
        return DISAGREES if sure else AGREES
    if not sure:
        return OPEN
    return AGREES if (ours.value > 0) == (paper > 0) else DISAGREES


def _difference(ours: KeptResult, theirs: KeptResult) -> Estimate | None:
    try:
        return paired_difference(_result(ours), _result(theirs))
    except DataError:
        # A cell that was measured before the study was changed, and not since.
        return None


def _text(estimate: Estimate | None, *, signed: bool = False) -> str:
    if estimate is None or not estimate.known:
        return "–"
    show = signed_text if signed else figure_text
    return f"{show(estimate.value)} [{show(estimate.low)}, {show(estimate.high)}]"


def _estimate(one: KeptResult) -> Estimate:
    return Estimate(one.value, *one.interval)


def _result(one: KeptResult) -> SetResult:
    measures = (Measure(one.metric, _estimate(one)),)
    items, gold = np.array(one.items), np.array(one.gold)
    return SetResult(one.task, one.family, one.split, measures, items, gold, one.instruction, one.count, one.seconds)
