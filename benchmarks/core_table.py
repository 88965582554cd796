"""Writes the table of `core` as Markdown beside its saved results, for the README.

    python benchmarks/core_table.py

A row a set, a column a model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedloom.evals.comparison import FAMILIES
from embedloom.evals.leaderboard import figure_text, signed_text

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Writes what there is."""
    for path in sorted(RESULTS.glob("*/core.json")):
        out = path.with_suffix(".md")
        out.write_text(table(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
        print(out)


def table(result: Mapping[str, Any]) -> str:
    """Models as columns; sets, means of the families that have several, their mean, and the gain on the baseline's.

    Figures x 100 with 95 % intervals, the highest of a row in bold. What was measured in part stands below.
    """
    models, baseline = list(result["models"]), result["baseline"]
    lines = [_line("set", "metric", *models), "|" + "---|" * (2 + len(models))]
    for row in result["sets"]:
        languages = f", {len(row['languages'])} languages" if row["languages"] else ""
        lines.append(_line(row["set"] + languages, row["metric"], *_cells(row["models"], models)))
    of_family = [row["family"] for row in result["sets"]]
    for family, cells in result["families"].items():
        if of_family.count(family) > 1:
            lines.append(_line(f"mean {FAMILIES[family].lower()}", "", *_cells(cells, models)))
    lines.append(_line("mean of the families", "", *_cells(result["mean"], models)))
    gains = (_gain(result["mean"].get(model)) for model in models)
    lines.append(_line(f"above {baseline}", "", *gains))
    seconds = [result["training"].get(model, {}).get("seconds") for model in models]
    lines.append(_line("training, minutes", "", *("" if one is None else f"{one / 60:,.0f}" for one in seconds)))
    parts = "; ".join(f"{row['set']} {row['part']}" for row in result["sets"] if row["part"])
    notes = [f"Texts are cut at {result['max_length']} tokens.", *([f"In part: {parts}."] if parts else [])]
    return "\n".join(lines) + f"\n\n{' '.join(notes)}\n"


def _cells(cells: Mapping[str, Any], models: Sequence[str]) -> list[str]:
    # Compared as they are shown: equals are all the highest.
    shown = {model: figure_text(cell["value"]) for model, cell in cells.items()}
    highest = max((float(text) for text in shown.values() if text != "-"), default=None)
    told = []
    for model in models:
        text = shown.get(model, "-")
        if text == "-":
            told.append("–")
            continue
        mark = "**" if float(text) == highest else ""
        low, high = map(figure_text, cells[model]["interval"])
        told.append(f"{mark}{text}{mark} [{low}, {high}]")
    return told


def _gain(cell: Mapping[str, Any] | None) -> str:
    if cell is None or "difference" not in cell:
        return ""
    low, high = map(signed_text, cell["difference"]["interval"])
    return f"{signed_text(cell['difference']['value'])} [{low}, {high}]"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
