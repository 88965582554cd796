"""Six models over the suite `core`: a base, what three kinds of training rows make of it, MiniLM and BM25.

One recipe a kind of rows goes on top of recipes/scifact.toml: rows that the base itself wrote about abstracts with
those that lie in the package, labelled rows alone, and all of them. Runs and scores stay below runs/, so that a
benchmark which was cut off goes on; seconds of a training are those of its steps, whenever they were done.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe_run import DATA, ROOT, embedloom

if TYPE_CHECKING:
    from embedloom.evals.comparison import Cell, Comparison
    from embedloom.evals.intervals import Estimate

RUNS = ROOT / "runs"
DOMAIN = ROOT / "recipes" / "scifact.toml"
TRAINED = ("synthetic", "labelled", "both")
"""Recipes that go on top of the domain's."""
BASE = "registry:gemma3-270m"
MODELS = {
    "base": BASE,
    **{name: f"runs/{name}/model" for name in TRAINED},
    "minilm": "registry:minilm",
    "bm25": "bm25",
}
SUITE = "core"
MAX_LENGTH = 192
"""Tokens of a text, for the base as for what was made of it; MiniLM keeps its own limit."""


def measure() -> dict[str, Any]:
    """Every figure with its interval, means of families and of all, differences to the base, costs of training."""
    recipes = {name: ROOT / "recipes" / f"{name}.toml" for name in TRAINED}
    for path in (DOMAIN, *recipes.values()):
        if not path.is_file():
            raise SystemExit(f"{path.relative_to(ROOT)} is not there: `core` measures what that recipe trains")
    for name, recipe in recipes.items():
        if name == "both":
            _share_data(RUNS / "synthetic", RUNS / name)
        embedloom("run", str(DOMAIN), str(recipe), "--until", "train", "--out", str(RUNS / name))
    out = RUNS / "core"
    told = ["--suite", SUITE, "--data", str(DATA), "--max-length", str(MAX_LENGTH), "--baseline", "base"]
    embedloom("eval", *(f"{label}={model}" for label, model in MODELS.items()), *told, "--results", str(out))
    training = {name: training_of(RUNS / name) for name in TRAINED}
    return {"models": MODELS, "max_length": MAX_LENGTH, "training": training, **figures(compared(out, SUITE, "base"))}


def training_of(folder: Path) -> dict[str, Any]:
    """Rows, steps, tokens and seconds of a run's training."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    logs = [path.read_text(encoding="utf-8") for path in sorted((folder / "training").rglob("log.jsonl"))]
    seconds = sum(json.loads(line)["seconds"] for log in logs for line in log.splitlines())
    steps, tokens = (manifest["train"][key] for key in ("steps", "tokens"))
    return {"rows": manifest["mix"]["rows"], "steps": steps, "tokens": tokens, "seconds": round(seconds, 1)}


def figures(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON: rows with their languages, means of the families, mean of all."""
    languages = {(table.name, table.family): table.lines for table in comparison.languages}
    rows = []
    for row in comparison.rows:
        told = {"set": row.name, "family": row.family, "metric": row.metric, "count": row.count, "part": row.limit}
        found = {
            line.language.label: {"count": line.count, "models": _cells(line.cells)}
            for line in languages.get((row.name, row.family), ())
        }
        rows.append({**told, "models": _cells(row.cells), "languages": found})
    families = {family: _cells(cells) for family, cells in comparison.averages.items()}
    return {"baseline": comparison.baseline, "sets": rows, "families": families, "mean": _cells(comparison.overall)}


def _share_data(first: Path, other: Path) -> None:
    """What was written and curated for one run is not asked for again; a stage with other settings is done anew."""
    from embedloom.run import atomic_folder

    if other.exists() or not (first / "manifest.json").is_file():
        return
    with atomic_folder(other) as made:
        own = shutil.ignore_patterns("model", "training", ".lock")
        shutil.copytree(first, made, ignore=own, dirs_exist_ok=True)


def compared(folder: Path, suite: str, baseline: str) -> Comparison:
    """The models on a suite's sets as they are now, of all that a folder of results has."""
    from embedloom.evals.comparison import compare
    from embedloom.evals.measured import read_measured, results_by_model, set_content
    from embedloom.evals.suites import open_suite

    contents: Sequence[str] = [set_content(found) for found in open_suite(suite, data=DATA)]
    lines = [line for line in read_measured([folder]) if line.model in MODELS and line.content in contents]
    lines.sort(key=lambda line: (list(MODELS).index(line.model), contents.index(line.content)))
    return compare(results_by_model(lines), baseline=baseline)


def _cells(cells: Mapping[str, Cell]) -> dict[str, Any]:
    return {
        model: {**_estimate(cell.figure), **({"difference": _estimate(cell.difference)} if cell.difference else {})}
        for model, cell in cells.items()
    }


def _estimate(found: Estimate) -> dict[str, Any]:
    return {"value": found.value, "interval": found.interval}
