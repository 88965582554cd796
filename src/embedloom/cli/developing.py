"""What a training is measured on as it goes: the recipe's development sets, and rows that were held out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from embedloom.cli.corpus import source_content
from embedloom.cli.mixing import HELD_OUT
from embedloom.cli.pipeline import Run
from embedloom.data.sources import data_path
from embedloom.errors import RecipeError
from embedloom.records import Example, content_id
from embedloom.run import read_records

if TYPE_CHECKING:
    from embedloom.evals.suite import EvalSet
    from embedloom.records import Embedder
    from embedloom.train.development import Development

SPLITS = ("dev", "validation", "test")
"""Parts of a development set, of which the first that is there counts."""


def development(run: Run) -> Development | None:
    """The sets, read and checked, and how a model is measured on them; None where the recipe names none.

    Raises:
        RecipeError: a development set is an evaluation set too.
        DataError: a set is missing or malformed.
    """
    settings = run.recipe.train
    if not settings.dev and not settings.dev_share:
        return None
    from embedloom.evals.held_out import evaluate_held_out
    from embedloom.evals.suite import evaluate
    from embedloom.train.development import Development

    sets = [found for name in settings.dev for found in _sets(run, name)]
    rows = list(read_records(run.folder / HELD_OUT, Example)) if settings.dev_share else []

    def measure(model: Embedder) -> Mapping[str, float]:
        results = list(evaluate(model, sets))
        if rows:
            results += evaluate_held_out(model, rows)
        names = [result.task for result in results]
        return {
            name if names.count(name) == 1 else f"{name} ({number})": result.main.estimate.value
            for number, (name, result) in enumerate(zip(names, results, strict=True), 1)
        }

    # What is measured differently is another measurement: its best weights are not comparable.
    kinds = ["scores"] if any(row.high_score is not None for row in rows) else []
    identity = content_id("development", contents(run), [row.id for row in rows], *kinds)
    return Development(measure, settings.dev_steps, identity)


def contents(run: Run) -> list[tuple[str, str]]:
    """Each development set with what its files hold."""
    return [(str(name), source_content(name)) for name in run.recipe.train.dev]


def _sets(run: Run, name: str | list[str]) -> list[EvalSet]:
    from embedloom.evals.suite import discover

    path = data_path(name)
    split = _split(path)
    measured = {data_path(one).resolve() for one in run.recipe.eval.sets}
    if path.resolve() in measured and split == SPLITS[-1]:
        raise RecipeError(
            f"train.dev has {name!r}, whose test part eval.sets measures: the best weights would be chosen by what "
            "they are judged on; name another set, or give the folder a dev.jsonl or qrels/dev.tsv"
        )
    return discover(path, split=split)


def _split(path: Path) -> str:
    """The part of a folder that there is; a file is what it is."""
    if path.is_file():
        return next((split for split in SPLITS if path.name.split(".")[0] == split), SPLITS[-1])
    names = {file.name.split(".")[0] for file in path.rglob("*") if file.suffix in (".jsonl", ".tsv", ".gz")}
    return next((split for split in SPLITS if split in names), SPLITS[-1])
