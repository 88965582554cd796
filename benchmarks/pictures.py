"""Draws the curves of saved results as SVG beside them.

    python benchmarks/pictures.py

Now: the losses of both trainers of `train-speed`, step by step.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from embedloom.evals.charts import curve

RESULTS = Path(__file__).parent / "results"
COLOURS = ("#1f6feb", "#b3560f")
WIDTH, HEIGHT, LEFT, TOP = 480, 240, 48, 40


def main() -> None:
    """Draws what there is."""
    for path in sorted(RESULTS.glob("*/train-speed.json")):
        losses = json.loads(path.read_text(encoding="utf-8"))["loss"]
        out = path.with_suffix(".svg")
        out.write_text(lines("Loss by step: the same rows, batches, model", losses), encoding="utf-8")
        print(out)


def lines(title: str, series: dict[str, list[float]]) -> str:
    """Lines over steps 1, 2, ... on one pair of axes."""
    highest = [max(values) for values in zip(*series.values(), strict=True)]
    box = curve(range(1, len(highest) + 1), highest)
    assert box is not None
    # The axes are those of the pointwise largest values; every line is placed on them.
    top = max(float(tick.label.replace(",", "")) for tick in box.y_ticks)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {TOP + HEIGHT + 60}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-weight="bold">{escape(title)}</text>',
    ]
    for tick in box.y_ticks:
        y = TOP + HEIGHT * tick.at / 100
        parts.append(f'<path d="M{LEFT} {y:.1f}h{WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(tick.label)}</text>')
    for tick in box.x_ticks:
        x = LEFT + WIDTH * tick.at / 100
        parts.append(f'<text x="{x:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{escape(tick.label)}</text>')
    for number, (name, values) in enumerate(series.items()):
        step = WIDTH / (len(values) - 1)
        points = " ".join(f"{LEFT + i * step:.1f},{TOP + HEIGHT * (1 - v / top):.1f}" for i, v in enumerate(values))
        colour, dash = COLOURS[number % 2], "" if number == 0 else ' stroke-dasharray="6 4"'
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        x, y = LEFT + number * 160, TOP + HEIGHT + 44
        parts.append(f'<path d="M{x} {y - 4}h24" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(f'<text x="{x + 30}" y="{y}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    main()
