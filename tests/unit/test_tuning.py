"""What makes a training another one, and what can be changed in the middle of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from embedloom.cli import tuning
from embedloom.cli.pipeline import Run
from embedloom.cli.planning import plan
from embedloom.cli.tuning import identity, tune
from embedloom.errors import RecipeError
from embedloom.recipe import Recipe, load_recipe
from embedloom.recipe_train import Train
from embedloom.records import Example
from embedloom.run import RunFolder, write_records
from embedloom.train.loop import WITHOUT_EFFECT
from tiny import save_tiny

OTHER = {
    "base": "registry:smollm2-135m",
    "sources": [{"data": "passages"}],
    "batches": "one-kind",
    "pooling": "mean",
    "prompt": "both",
    "method": "full",
    "compile": "never",
    "lora_targets": ["q_proj"],
    "lora_dropout": 0.5,
    "dtype": "float32",
    "tracker": "trackio",
    "graded": ["sts"],
    "dev": ["path:sets"],
    "dev_share": 0.125,
    "dimensions": [64],
    "false_negative_margin": 0.25,
}
"""Another value of each setting that is no plain number or switch."""


def other(name: str) -> Any:
    value = Train.model_fields[name].get_default(call_default_factory=True)
    if name in OTHER:
        return OTHER[name]
    return not value if isinstance(value, bool) else value + 8


@pytest.mark.parametrize("name", sorted(Train.model_fields))
def test_every_setting_but_a_few_makes_another_training(name: str) -> None:
    recipe = Recipe()
    changed = recipe.model_copy(update={"train": Train.model_validate({name: other(name)})})
    assert (identity(changed) == identity(recipe)) == (name in {*WITHOUT_EFFECT, "tracker"})


def test_what_the_model_reads_is_of_the_model_not_of_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    told: list[Any] = []

    def stage(run: Run, name: str, *, settings: Any, work: Any, **_: Any) -> None:
        told.append(settings)
        with pytest.raises(KeyboardInterrupt):
            work()

    def clear(_: Path, key: str) -> None:
        kept.append(key)
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "stage", stage)
    monkeypatch.setattr(tuning, "_clear_other_training", clear)
    for settings in ([], ["eval.max_length=77"], ["train.max_length=77"], ["train.graph_tokens=77"]):
        run = Run(load_recipe([], settings), RunFolder(tmp_path))
        write_records(run.folder / "train.jsonl", [Example("Find", "a", ("b",))])
        tune(run)
    assert told[1] != told[0] != told[2]
    assert told[3] == told[0]
    assert kept[0] == kept[1] == kept[3] != kept[2]


def test_vectors_are_trained_whole_beside_the_lengths_they_may_be_cut_to(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", "llama")
    write_records(tmp_path / "run" / "train.jsonl", [Example("Find", "a", ("b",))])

    def lengths(*settings: str) -> tuple[int, ...]:
        recipe = load_recipe([], [f"train.base='path:{base}'", *settings])
        return plan(Run(recipe, RunFolder(tmp_path / "run"))).loop.objective.dimensions

    assert lengths() == ()
    assert lengths("train.dimensions=[8, 16]") == (8, 16, 32)
    assert lengths("train.dimensions=[32, 8]") == (32, 8)
    with pytest.raises(RecipeError, match="train.dimensions has 64, and vectors of .* have 32 numbers"):
        lengths("train.dimensions=[64]")
    for wrong in ("train.dimensions=[0]", "train.false_negative_margin=-0.1"):
        with pytest.raises(RecipeError):
            lengths(wrong)
