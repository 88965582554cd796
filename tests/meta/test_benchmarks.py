"""Benchmarks: each one can be found, and the README's table is that of saved results."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

REPOSITORY = Path(__file__).parents[2]
BENCHMARKS = REPOSITORY / "benchmarks"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def cell(value: float, gain: float | None = None) -> dict[str, object]:
    told: dict[str, object] = {"value": value, "interval": [value - 0.01, value + 0.02]}
    return told if gain is None else {**told, "difference": {"value": gain, "interval": [gain - 0.03, gain + 0.04]}}


def test_every_benchmark_stands_in_the_document_on_reproducing() -> None:
    page = (REPOSITORY / "docs" / "reproduce.md").read_text(encoding="utf-8")
    named = re.findall(r'make bench NAME="([a-z0-9-]+) --save"', page)
    assert sorted(named) == sorted(module("run").BENCHMARKS)


def test_the_table_of_core_has_every_figure_with_its_interval() -> None:
    rows = [
        {
            "set": "xquad",
            "family": "retrieval",
            "metric": "ndcg@10",
            "part": "300 of 1,190 queries",
            "models": {"base": cell(0.021), "both": cell(0.8004, 0.7794), "bm25": cell(0.8, 0.779)},
            "languages": {"en": {}, "de": {}},
        },
        {"set": "scifact", "family": "retrieval", "metric": "ndcg@10", "part": "", "models": {}, "languages": {}},
        {
            "set": "stsbenchmark",
            "family": "sts",
            "metric": "spearman",
            "part": "",
            "models": {"base": cell(-0.25), "both": cell(0.5, 0.75)},
            "languages": {},
        },
    ]
    result = {
        "models": {"base": "registry:a", "both": "runs/both/model", "bm25": "bm25"},
        "baseline": "base",
        "max_length": 192,
        "training": {"both": {"seconds": 2359.0}},
        "sets": rows,
        "families": {"retrieval": {"base": cell(float("nan"))}, "sts": rows[2]["models"]},
        "mean": {"base": cell(0.1), "both": cell(0.3, 0.2)},
    }
    assert module("core_table").table(result) == (
        "| set | metric | base | both | bm25 |\n"
        "|---|---|---|---|---|\n"
        "| xquad, 2 languages | ndcg@10 | 2.1 [1.1, 4.1] | **80.0** [79.0, 82.0] | **80.0** [79.0, 82.0] |\n"
        "| scifact | ndcg@10 | – | – | – |\n"
        "| stsbenchmark | spearman | -25.0 [-26.0, -23.0] | **50.0** [49.0, 52.0] | – |\n"
        "| mean retrieval |  | – | – | – |\n"
        "| mean of the families |  | 10.0 [9.0, 12.0] | **30.0** [29.0, 32.0] | – |\n"
        "| above base |  |  | +20.0 [+17.0, +24.0] |  |\n"
        "| training, minutes |  |  | 39 |  |\n"
        "\n"
        "Texts are cut at 192 tokens. In part: xquad 300 of 1,190 queries.\n"
    )


def test_the_table_in_the_readme_is_that_of_a_saved_result() -> None:
    """Made by `python benchmarks/core_table.py`; neither stands without the other."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    table = module("core_table").table
    saved = [json.loads(path.read_text(encoding="utf-8")) for path in BENCHMARKS.glob("results/*/core.json")]
    assert ("| above base |" in readme) == bool(saved)
    assert not saved or any(table(result) in readme for result in saved)
