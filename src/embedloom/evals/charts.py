"""Geometry of the report's pictures: numbers between 0 and 100, so that the page can draw them at any width.

Nothing here is markup, and text never passes through: the template sets it beside the pictures, where it stays readable
on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embedloom.evals.intervals import Estimate


@dataclass(frozen=True, slots=True)
class Whisker:
    """A figure and its interval on an axis, in per cent of the axis' length."""

    at: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: where, in per cent, and what stands there."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Curve:
    """A line chart in a box of 100 x 100 with the origin at the top left, as SVG has it.

    Attributes:
        points: "x,y x,y ..." of the values themselves.
        smooth: the same of their running mean, or "" without one.
        x_ticks: marks below.
        y_ticks: marks at the left, measured from the top.
        last: the last value, as text.
    """

    points: str
    smooth: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    last: str


def whisker(estimate: Estimate, low: float, high: float) -> Whisker:
    """An estimate on an axis from `low` to `high`; an interval that isn't known has no length."""
    at = _place(estimate.value, low, high)
    known = math.isfinite(estimate.low) and math.isfinite(estimate.high)
    ends = (_place(estimate.low, low, high), _place(estimate.high, low, high)) if known else (at, at)
    return Whisker(at, *ends)


def axis(values: Sequence[float], *, most: int = 6) -> tuple[float, float, tuple[Tick, ...]]:
    """Round ends of an axis that holds `values`, and about `most` ticks at round numbers.

    Args:
        values: finite numbers, at least one.
        most: ticks.

    Returns:
        Low end, high end, ticks.
    """
    rounds, step = _round_numbers(min(values), max(values), most)
    low, high = rounds[0], rounds[-1]
    return low, high, tuple(Tick(_place(value, low, high), _number(value, step)) for value in rounds)


def figure_axis(estimates: Iterable[Estimate]) -> tuple[float, float]:
    """Ends of an axis of figures: from 0, or from the tenth below a negative correlation, to 1."""
    values = [value for one in estimates for value in (one.value, one.low)]
    lowest = min((value for value in values if math.isfinite(value)), default=0.0)
    return min(0, 10 * math.floor(10 * lowest)) / 100, 1.0


def figure_ticks(low: float, high: float) -> tuple[Tick, ...]:
    """Quarters of 100 on an axis of figures; the first is where 0 stands."""
    return tuple(Tick(100 * (at / 100 - low) / (high - low), str(at)) for at in (0, 25, 50, 75, 100))


def curve(steps: Sequence[float], values: Sequence[float], *, smooth: bool = False) -> Curve | None:
    """A line over training steps; points that aren't finite are left out. None if fewer than two are left.

    Args:
        steps: in rising order.
        values: one a step.
        smooth: draw the running mean over a twelfth of the steps too, if there are enough.
    """
    pairs = [(x, y) for x, y in zip(steps, values, strict=True) if math.isfinite(x) and math.isfinite(y)]
    if len(pairs) < 2 or pairs[0][0] == pairs[-1][0]:
        return None
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    y_low, y_high, y_ticks = axis([*ys, 0.0] if min(ys) >= 0 else ys, most=5)
    x_low, x_high = xs[0], xs[-1]
    rounds, step = _round_numbers(x_low, x_high, 5)
    x_ticks = tuple(Tick(_place(x, x_low, x_high), _number(x, step)) for x in rounds if x_low <= x <= x_high)

    def line(heights: Sequence[float]) -> str:
        return " ".join(
            f"{_place(x, x_low, x_high):.2f},{100 - _place(y, y_low, y_high):.2f}"
            for x, y in zip(xs, heights, strict=True)
        )

    size = max(2, len(ys) // 12)
    mean = line(_running_mean(ys, size)) if smooth and len(ys) >= 3 * size else ""
    flipped = tuple(Tick(100 - tick.at, tick.label) for tick in y_ticks)
    return Curve(line(ys), mean, x_ticks, flipped, f"{ys[-1]:.3g}")


def _round_numbers(low: float, high: float, most: int) -> tuple[list[float], float]:
    """Round numbers from at or below `low` to at or above `high`, and the step between them."""
    if high - low <= max(abs(low), abs(high)) * 1e-9:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    # A value that sits on a round number is an end itself, however its division is rounded.
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)], step


def _running_mean(values: Sequence[float], size: int) -> list[float]:
    out = []
    for i in range(len(values)):
        seen = values[max(0, i - size + 1) : i + 1]
        out.append(sum(seen) / len(seen))
    return out


def _place(value: float, low: float, high: float) -> float:
    return min(100.0, max(0.0, 100 * (value - low) / (high - low)))


def _number(value: float, step: float) -> str:
    """As many decimals as the step between neighbours needs; very small numbers with an exponent."""
    decimals = max(0, -math.floor(math.log10(step)))
    return f"{value:.0e}" if decimals > 3 and value else f"{value:,.{0 if decimals > 3 else decimals}f}"
