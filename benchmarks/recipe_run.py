"""A recipe from its corpus to its report, timed by stage.

The run folder stays below runs/, so that a benchmark which was cut off goes on; the seconds of a stage are those that
it took when it was done.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("EMBEDLOOM_SHARED") or ROOT.parent / "shared") / "data"
"""Public evaluation sets."""


def timed_run(recipe: str, then: Sequence[str] = ()) -> dict[str, Any]:
    """Runs a recipe, then `embedloom eval` of its model on more sets.

    Args:
        recipe: file below recipes/.
        then: sets measured after the run with the checkpoint.
    """
    folder = ROOT / "runs" / recipe.removesuffix(".toml")
    embedloom("run", str(ROOT / "recipes" / recipe), "--out", str(folder))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    stages = {stage: entry["seconds"] for stage, entry in manifest.items()}
    figures: dict[str, Any] = {
        "run_seconds": round(sum(stages.values()), 1),
        "stages": stages,
        "scores": _scores(folder / "scores.jsonl"),
    }
    leaderboard = folder / "leaderboard.jsonl"
    if leaderboard.exists():
        rows = map(json.loads, leaderboard.read_text(encoding="utf-8").splitlines())
        figures["tuned_minus_base"] = {row["task"]: row["difference"] for row in rows if row.get("difference")}
    if then:
        out = folder / "more_scores.jsonl"
        cache = str(folder / "vectors.sqlite")
        embedloom("eval", str(folder / "model"), *then, "--out", str(out), "--cache", cache)
        figures["scores"] += _scores(out)
    return figures


def embedloom(*arguments: str) -> None:
    """Runs the command line in this environment; its output goes to standard error."""
    subprocess.run([sys.executable, "-m", "embedloom", *arguments], cwd=ROOT, stdout=sys.stderr, check=True)


def _scores(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    keep = ("task", "metric", "model", "value", "interval", "count", "seconds")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{key: row[key] for key in keep if key in row} for row in rows]
