"""The passkey figures as records, and their picture: accuracy by length, one line a setting of the positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embedloom.page.rendering import render
from embedloom.records import content_id

TEMPLATES = Path(__file__).parent / "templates"
LEFT, RIGHT, TOP, BOTTOM = 56.0, 744.0, 16.0, 300.0
"""Edges of the drawing in the picture, which is 760 wide."""
LEGEND_LINE = 22.0
KINDS = 8
"""Lines that differ in colour, mark and dashes; beyond them they repeat."""


@dataclass(frozen=True, slots=True)
class PasskeyScore:
    """Top-1 accuracy of one model at one length under one setting of its positions.

    `setting` says what was changed, the fields behind it the positions that held, changed or not; `tokens` is the mean
    of the documents' own lengths, `peak_bytes` the most memory that the process had held by then.
    """

    model: str
    length: int
    language: str
    value: float
    interval: tuple[float, float]
    documents: int
    queries: int
    setting: str
    base: float
    local_base: float | None = None
    scaling: str | None = None
    factor: float | None = None
    window: int | None = None
    tokens: float = 0.0
    seconds: float = 0.0
    peak_bytes: int = 0
    fingerprint: str = ""
    instruction: str = ""
    seed: int = 0

    @property
    def id(self) -> str:
        """Hash of what was measured: the same question has the same id, whatever came out."""
        asked = (self.length, self.language, self.documents, self.queries, self.seed, self.instruction)
        held = (self.base, self.local_base, self.scaling, self.factor, self.window)
        return content_id("passkey-score", self.fingerprint, asked, held)


@dataclass(frozen=True, slots=True)
class _Point:
    x: float
    y: float
    low: float
    high: float
    title: str


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    kind: int
    points: tuple[_Point, ...]
    legend_y: float

    @property
    def path(self) -> str:
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


def passkey_picture(scores: Sequence[PasskeyScore]) -> str:
    """The curve as one SVG picture that needs nothing but itself.

    Raises:
        ValueError: there are no scores.
    """
    return render(TEMPLATES, "passkey.svg", _view(scores))


def passkey_page(scores: Sequence[PasskeyScore]) -> str:
    """The picture and the figures with their intervals as a page; no script, no link, nothing is loaded."""
    lengths = sorted({score.length for score in scores})
    rows = [
        (name, [next((score for score in found if score.length == length), None) for length in lengths])
        for name, found in _series(scores).items()
    ]
    return render(TEMPLATES, "passkey.html", {**_view(scores), "lengths": lengths, "rows": rows, "first": scores[0]})


def _view(scores: Sequence[PasskeyScore]) -> dict[str, object]:
    if not scores:
        raise ValueError("a picture needs at least one score")
    lengths = sorted({score.length for score in scores})
    low, span = math.log2(lengths[0]), math.log2(lengths[-1] / lengths[0]) or 1.0
    places = {length: LEFT + 24 + (RIGHT - LEFT - 48) * (math.log2(length) - low) / span for length in lengths}
    lines = [
        _line(name, number, [score for score in found if math.isfinite(score.value)], places)
        for number, (name, found) in enumerate(_series(scores).items())
    ]
    return {
        "lines": lines,
        "ticks": [(place, _short(length)) for length, place in places.items()],
        "heights": [(_height(value), f"{value * 100:.0f}") for value in (0, 0.25, 0.5, 0.75, 1)],
        "box": {"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        "total": BOTTOM + 64 + LEGEND_LINE * len(lines),
    }


def _line(name: str, number: int, scores: Sequence[PasskeyScore], places: dict[int, float]) -> _Line:
    points = tuple(
        _Point(
            places[score.length],
            _height(score.value),
            _height(score.interval[0]),
            _height(score.interval[1]),
            f"{name}, {score.length:,} tokens: {100 * score.value:.0f} "
            f"({100 * score.interval[0]:.0f} to {100 * score.interval[1]:.0f})",
        )
        for score in scores
    )
    return _Line(name, number % KINDS, points, BOTTOM + 64 + LEGEND_LINE * number)


def _series(scores: Sequence[PasskeyScore]) -> dict[str, list[PasskeyScore]]:
    """Scores by what distinguishes them: setting, and model and language where there are several; shortest first."""
    several = [len({getattr(score, name) for score in scores}) > 1 for name in ("model", "language")]
    out: dict[str, list[PasskeyScore]] = {}
    for score in scores:
        parts = [part for part, shown in zip((score.model, score.language), several, strict=True) if shown]
        out.setdefault(" · ".join([*parts, score.setting]), []).append(score)
    return {name: sorted(found, key=lambda score: score.length) for name, found in out.items()}


def _height(value: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * min(1.0, max(0.0, value))


def _short(length: int) -> str:
    return f"{length // 1024}k" if length >= 1024 and length % 1024 == 0 else f"{length:,}"
