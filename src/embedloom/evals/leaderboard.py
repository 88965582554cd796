"""The leaderboard: systems beside each other on each set, and what the tuned model gained, paired."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from embedloom.evals.intervals import Estimate
from embedloom.evals.result import SetResult, paired_difference


@dataclass(frozen=True, slots=True)
class SystemFigure:
    """One system's main figure on one set."""

    system: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """One set: each system's figure in the leaderboard's order, and tuned - base, paired, where both were run."""

    task: str
    metric: str
    family: str
    count: int
    instruction: str
    figures: tuple[SystemFigure, ...]
    difference: Estimate | None


def leaderboard(
    results: Mapping[str, Sequence[SetResult]], *, tuned: str = "tuned", base: str = "base"
) -> tuple[LeaderboardRow, ...]:
    """One row a set, in the order in which the sets occur first.

    Args:
        results: {system: its results}; the systems' order is the columns' order. A system need not have every set.
        tuned: the system whose gain is shown.
        base: the system that it is measured against.

    Raises:
        DataError: both systems have a set of one name with different items.
    """
    by_set: dict[tuple[str, str, str], dict[str, SetResult]] = {}
    for system, found in results.items():
        for result in found:
            by_set.setdefault((result.task, result.family, result.split), {})[system] = result
    rows = []
    for (task, family, split), of_system in by_set.items():
        first = next(iter(of_system.values()))
        pair = of_system.get(tuned), of_system.get(base)
        rows.append(
            LeaderboardRow(
                task=task if split == "test" else f"{task} ({split})",
                metric=first.main.name,
                family=family,
                count=first.count,
                instruction=of_system.get(tuned, first).instruction,
                figures=tuple(
                    SystemFigure(system, of_system[system].main.estimate) for system in results if system in of_system
                ),
                difference=paired_difference(pair[0], pair[1]) if pair[0] and pair[1] else None,
            )
        )
    return tuple(rows)


def leaderboard_table(
    rows: Sequence[LeaderboardRow], *, tuned: str = "tuned", base: str = "base"
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The leaderboard as text cells: heads, and one line a set. Figures are x 100, intervals 95 %."""
    systems = systems_of(rows)
    compared = any(row.difference for row in rows)
    heads = ("task", "metric", "n", *systems, *((f"{tuned} - {base}",) if compared else ()))
    lines = []
    for row in rows:
        figures = {figure.system: figure.estimate for figure in row.figures}
        cells = [_with_interval(figures.get(system)) for system in systems]
        difference = [_with_interval(row.difference, signed=True)] if compared else []
        lines.append((row.task, row.metric, f"{row.count:,}", *cells, *difference))
    return heads, lines


def systems_of(rows: Sequence[LeaderboardRow]) -> tuple[str, ...]:
    """Systems in the columns' order, even if the first set wasn't run by all of them."""
    longest = sorted(rows, key=lambda row: -len(row.figures))
    return tuple(dict.fromkeys(figure.system for row in longest for figure in row.figures))


def figure_text(value: float) -> str:
    """A figure x 100 with one decimal; "-" if it isn't known."""
    return f"{100 * value:.1f}" if math.isfinite(value) else "-"


def signed_text(value: float) -> str:
    """A difference x 100 with its sign; "-" if it isn't known."""
    return f"{100 * value:+.1f}" if math.isfinite(value) else "-"


def sign(difference: Estimate | None) -> str:
    """Whether a difference is above 0 (`good`), below (`bad`), or may be either ("")."""
    if difference is None:
        return ""
    return "good" if difference.low > 0 else "bad" if difference.high < 0 else ""


def verdict(differences: Iterable[Estimate | None]) -> dict[str, int]:
    """How many differences are above 0 (`ahead`), below (`behind`), or may be either (`open`); None isn't counted."""
    signs = [sign(one) for one in differences if one is not None]
    return {"ahead": signs.count("good"), "behind": signs.count("bad"), "open": signs.count("")}


FILTERS: Mapping[str, Callable[..., str]] = {"figure": figure_text, "signed": signed_text, "sign": sign}
"""What `figures.html` needs of the pages that show figures by it."""


def _with_interval(estimate: Estimate | None, *, signed: bool = False) -> str:
    if estimate is None or not estimate.known:
        return "-"
    show = signed_text if signed else figure_text
    return f"{show(estimate.value)} [{show(estimate.low)}, {show(estimate.high)}]"
