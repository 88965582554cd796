"""A recipe from an empty run folder to its report, timed by stage."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def timed_run(recipe: str, then: dict[str, list[str]] | None = None) -> dict[str, Any]:
    """Runs a recipe in a new folder, then `embedloom eval` of its model on more sets.

    Args:
        recipe: file below recipes/.
        then: {label: sets} measured after the run, each with the checkpoint.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        started = time.time()
        embedloom("run", str(ROOT / "recipes" / recipe), "--out", str(folder))
        seconds = time.time() - started
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        figures: dict[str, Any] = {
            "run_seconds": round(seconds, 1),
            "stages": {stage: entry["seconds"] for stage, entry in manifest.items()},
            "scores": _scores(folder / "scores.jsonl"),
        }
        leaderboard = folder / "leaderboard.jsonl"
        if leaderboard.exists():
            rows = map(json.loads, leaderboard.read_text(encoding="utf-8").splitlines())
            figures["tuned_minus_base"] = {row["task"]: row["difference"] for row in rows if row.get("difference")}
        for sets in (then or {}).values():
            out = Path(scratch) / "scores.jsonl"
            embedloom("eval", str(folder / "model"), *sets, "--out", str(out))
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
