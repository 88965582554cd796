"""recipes/multilingual.toml from prompts to report: a script for the language model, a tiny model to tune."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command import call
from embedloom.recipe import load_recipe
from embedloom.records import Example, Prompt
from embedloom.run import read_records
from embedloom.synth.families import FAMILY
from embedloom.synth.families import PAPER_SHARES as SIX
from tiny import save_tiny

RECIPE = Path(__file__).parents[2] / "recipes" / "multilingual.toml"

# Words of their own for every text, so that none is a duplicate, a loop or a copy of another.
SCRIPT = [
    json.dumps(
        {
            key: " ".join(f"{word}{number}{key}{place}" for place, word in enumerate(("sun", "sea", "oak", "fig") * 6))
            for key in sorted({key for name in SIX for key in FAMILY[name].keys} - {"label", "misleading_label"})
        }
        | {"label": f"first {number}", "misleading_label": f"second {number}"}
    )
    for number in range(60)
]


def test_all_six_families_go_from_prompts_to_card_training_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text("".join(json.dumps({"text": text}) + "\n" for text in [*SCRIPT, "no reply"]), encoding="utf-8")
    save_tiny(tmp_path / "base", "gemma3")
    counts = dict.fromkeys(SIX, 10) | {"sts": 11}
    run = tmp_path / "run"
    settings = {
        "llm.model": f"scripted:{script}",
        "generate.counts": "{" + ", ".join(f"{name} = {count}" for name, count in counts.items()) + "}",
        "curate.language": "off",
        "train.base": f"path:{tmp_path / 'base'}",
        "train.sources": '[{ data = "sample:llm-written", limit = 8 }]',
        "train.max_steps": "2",
        "train.batch_size": "4",
    }
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    answer = call(capsys, "run", RECIPE, "--out", run, *options)
    assert answer.status == 0, answer.error
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    yields = manifest["card"]["yields"]
    assert {name: row["asked"] for name, row in yields["by_family"].items()} == counts
    assert yields["rejects"] == {"parse/no-json": 1}
    assert yields["kept"] == 60
    asked = {prompt.language for prompt in read_records(run / "prompts.jsonl", Prompt)}
    assert asked <= set(load_recipe([RECIPE]).generate.languages)
    assert len(asked) > 8
    assert sum(1 for _ in read_records(run / "train.jsonl", Example)) == 68
    assert manifest["train"]["steps"] == 2
    page, text = ((run / name).read_text(encoding="utf-8") for name in ("data.html", "data.md"))
    assert all(name in page and name in text for name in SIX)
    assert 'href="data.html"' in (run / "report.html").read_text(encoding="utf-8")


def test_small_models_get_prompts_that_they_can_continue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an instruction-tuned model: few-shot text, the same tasks and languages."""
    save_tiny(tmp_path / "base", "gemma3")
    options = [
        "--set",
        f"llm.model=local:path:{tmp_path / 'base'}",
        "--set",
        "generate.languages={English=1, German=1}",
    ]
    answer = call(capsys, "run", RECIPE, "--out", tmp_path / "run", *options, "--dry-run", "20")
    assert answer.status == 0, answer.error
    assert {name for name in SIX if f"template {name}-base-" in answer.out} == set(SIX)
