"""Models that `core` trained, without and with labels, on whole sets: SciFact, XQuAD and Tatoeba in all languages."""

from __future__ import annotations

from typing import Any

from core import MODELS, RUNS, compared, figures
from recipe_run import DATA, ROOT, embedloom

SUITE = str(ROOT / "benchmarks" / "whole.toml")
MEASURED = ("synthetic", "both")
MAX_LENGTH = 512
"""Tokens of a text: what the models read in use. `core` cuts texts at fewer, to take minutes."""


def measure() -> dict[str, Any]:
    """Every figure with its interval, by language too, and what labels add."""
    models = {name: MODELS[name] for name in MEASURED}
    for path in models.values():
        if not (ROOT / path).is_dir():
            raise SystemExit(f'{path} is not there: make bench NAME="core --save" trains it')
    out = RUNS / "whole"
    told = ["--suite", SUITE, "--data", str(DATA), "--max-length", str(MAX_LENGTH), "--baseline", MEASURED[0]]
    embedloom("eval", *(f"{label}={model}" for label, model in models.items()), *told, "--results", str(out))
    return {"models": models, "max_length": MAX_LENGTH, **figures(compared(out, SUITE, MEASURED[0]))}
