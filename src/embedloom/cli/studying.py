"""Running the cells of a study: each through the stages of a run, on what other cells have done already."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom.cli.curating import CURATED
from embedloom.cli.pipeline import Run
from embedloom.cli.progress import notice
from embedloom.cli.study_file import CELL, Cell, StudyFile
from embedloom.cli.tuning import MODEL, checkpoint_content
from embedloom.data.sources import data_path
from embedloom.errors import DataError, EmbedloomError
from embedloom.records import Example
from embedloom.run import RunFolder, atomic_file, read_records, write_records

if TYPE_CHECKING:
    from embedloom.evals.study import CellOutcome, Cost, Study

CELLS, RESULTS, FAILURE = "cells", "measured.jsonl", "failure.txt"
TABLE, RECORDS, PAGE = "study.md", "study.jsonl", "study.html"
NOT_RUN = "not run yet"


@dataclass(frozen=True)
class Place:
    """Where a study lies: its own folder, and that of what cells share, which several studies may have in common."""

    out: Path
    shared: Path

    def folder(self, cell: str) -> RunFolder:
        """The run folder of a cell."""
        return RunFolder(self.out / CELLS / cell)


def run_study(study: StudyFile, place: Place, only: Iterable[str] = ()) -> int:
    """Runs the cells that are missing, those of `only` and what they need if any are named; returns how many failed.

    The table is written anew behind every cell. A cell that fails is recorded, and the others go on; those that need
    it fail too.
    """
    wanted = _with_needs(study, set(only)) if only else {cell.name for cell in study.cells}
    left_out = absent_sets(study)
    for name in left_out:
        notice(f"evaluation set {name} is not there; it is left out")
    failed: set[str] = set()
    for number, cell in enumerate(study.cells, 1):
        if cell.name not in wanted:
            continue
        notice(f"\ncell {number} of {len(study.cells)}: {cell.name}")
        path = place.folder(cell.name) / FAILURE
        try:
            if missing := [one for one in cell.needs if one in failed]:
                raise EmbedloomError(f"cell {missing[0]!r}, which it needs, failed")
            run_cell(cell, study, place, left_out)
            path.unlink(missing_ok=True)
        except (EmbedloomError, RuntimeError, OSError, MemoryError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
            failed.add(cell.name)
            notice(f"cell {cell.name} failed: {said}")
            with atomic_file(path) as file:
                file.write(said)
        write_study(study, place)
    return len(failed)


def run_cell(cell: Cell, study: StudyFile, place: Place, left_out: Iterable[str] = ()) -> None:
    """One cell: data, training or merging, measurement."""
    run = cell_run(cell, place, left_out)
    with run.folder.locked():
        run.record()
        if cell.model:
            _stages(run, "corpus")
        elif cell.merge:
            _stages(run, "corpus")
            _merge(run, cell, place)
        else:
            _stages(run, cell.until)
        if cell.until == "train":
            measure_cell(run, cell, study.limit)


def cell_run(cell: Cell, place: Place, left_out: Iterable[str] = ()) -> Run:
    """The run of a cell, its base found where an earlier cell left it, without the sets that are not there."""
    recipe = cell.recipe
    base = recipe.train.base
    if base.startswith(CELL):
        other = place.folder(base.removeprefix(CELL)) / MODEL
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"base": f"path:{other}"})})
    sets = [name for name in recipe.eval.sets if _shown(name) not in set(left_out)]
    recipe = recipe.model_copy(update={"eval": recipe.eval.model_copy(update={"sets": sets})})
    return Run(recipe, place.folder(cell.name), shared=place.shared)


def measure_cell(run: Run, cell: Cell, limit: int) -> None:
    """The cell's model on every set, with all that a paired comparison needs."""
    from embedloom.cli.corpus import KNOWN_ITEM, source_content
    from embedloom.cli.measure import BM25_NAME, evaluate_model, evaluation_sets_of, own_instructions
    from embedloom.cli.opening import open_embedder
    from embedloom.evals.part import part_of_set

    sets = [part_of_set(found, limit) for found in evaluation_sets_of(run)]
    if not sets:
        raise DataError("no evaluation set: name some in eval.sets, or set corpus.source to texts")

    def work() -> dict[str, Any]:
        from embedloom.evals.study import kept
        from embedloom.model.vector_cache import CachedEmbedder

        embedder = None
        if cell.model != BM25_NAME:
            name = cell.model or str(run.folder / MODEL)
            longest = run.recipe.eval.max_length if cell.model else None
            opened = open_embedder(name, max_length=longest, notice=notice)
            embedder = CachedEmbedder(opened, (run.shared or run.folder.path) / "vectors.sqlite")
        found = [kept(result) for result in evaluate_model(cell.name, embedder, sets, own_instructions(run))]
        return {"sets": write_records(run.folder / RESULTS, found)}

    told = {"sets": [(one.task, one.split, one.text_count) for one in sets], "limit": limit, "model": cell.model}
    told |= {"contents": [source_content(name) for name in run.recipe.eval.sets], "own": own_instructions(run)}
    told |= {"model_content": checkpoint_content(cell.model)} if cell.model else {}
    told |= {"max_length": run.recipe.eval.max_length}
    own = [f"{KNOWN_ITEM}/queries.jsonl", f"{KNOWN_ITEM}/corpus.jsonl"] if own_instructions(run) else []
    inputs = [*([] if cell.model else [MODEL]), *own]
    run.stage("measure", settings=told, inputs=inputs, files=[RESULTS], work=work)


def write_study(study: StudyFile, place: Place) -> Study:
    """Writes table, records and page of what the cells have left so far."""
    from embedloom.evals.study import study_markdown, study_records, study_table
    from embedloom.evals.study_page import study_page

    outcomes = [outcome(cell, place) for cell in study.cells]
    table = study_table(study.name, study.question, study.reference, outcomes, limit=study.limit)
    lines = (json.dumps(obj, ensure_ascii=False) for obj in study_records(table))
    for name, text in (
        (TABLE, study_markdown(table)),
        (RECORDS, "".join(f"{line}\n" for line in lines)),
        (PAGE, study_page(table)),
    ):
        with atomic_file(place.out / name) as file:
            file.write(text)
    return table


def outcome(cell: Cell, place: Place) -> CellOutcome:
    """What a cell has left so far."""
    from embedloom.evals.study import CellOutcome, KeptResult

    folder = place.folder(cell.name)
    manifest = folder.manifest()
    failure = (folder / FAILURE).read_text(encoding="utf-8") if (folder / FAILURE).exists() else ""
    done = "measure" in manifest if cell.until == "train" else cell.until in manifest
    results: tuple[KeptResult, ...] = ()
    if not failure and (folder / RESULTS).exists() and "measure" in manifest:
        results = tuple(read_records(folder / RESULTS, KeptResult))
    return CellOutcome(
        cell.name, cell.title, cell.paper, results, _data(folder), _cost(manifest), failure or ("" if done else NOT_RUN)
    )


def absent_sets(study: StudyFile) -> list[str]:
    """Evaluation sets of the cells' recipes that are not on this machine.

    Raises:
        DataError: none is there, while some are named and there is no corpus to make one from.
    """
    named = {_shown(name): name for cell in study.cells for name in cell.recipe.eval.sets}
    absent = []
    for shown, name in named.items():
        try:
            data_path(name)
        except DataError:
            absent.append(shown)
    if named and len(absent) == len(named) and not any(cell.recipe.corpus.source for cell in study.cells):
        raise DataError(f"none of the evaluation sets is there: {', '.join(absent)}")
    return absent


def _stages(run: Run, until: str) -> None:
    from embedloom.cli.run import do_stages

    do_stages(run, until)


def _merge(run: Run, cell: Cell, place: Place) -> None:
    from embedloom.train.merge import merge, open_parents

    models = [place.folder(name) / MODEL for name in cell.merge]

    def work() -> dict[str, Any]:
        return {"fingerprint": merge(open_parents(models, ()), run.folder / MODEL, method=cell.method)}

    told = {"method": cell.method, "parents": [checkpoint_content(str(model)) for model in models]}
    run.stage("merge", settings=told, inputs=[], files=[MODEL], work=work)


def _with_needs(study: StudyFile, names: set[str]) -> set[str]:
    """The cells of these names, and all that they are made from."""
    wanted = set(names)
    for cell in reversed(study.cells):
        if cell.name in wanted:
            wanted |= set(cell.needs)
    return wanted


def _cost(manifest: dict[str, Any]) -> Cost:
    from embedloom.evals.study import Cost

    entries = manifest.values()
    train, generate = manifest.get("train", {}), manifest.get("generate", {})
    tokens = sum(int(one.get(key, 0)) for one, key in (
        (train, "tokens"), (generate, "input_tokens"), (generate, "output_tokens"))
    )  # fmt: skip
    return Cost(
        seconds=round(sum(float(one["seconds"]) for one in entries), 1),
        taken=round(sum(float(one["seconds"]) for one in entries if one.get("taken")), 1),
        tokens=tokens,
        prompts=int(generate.get("generations", 0)),
    )


def _data(folder: RunFolder) -> dict[str, float]:
    """How many rows were kept of what was written, and how much they repeat themselves."""
    path = folder / CURATED
    if not path.exists():
        return {}
    from embedloom.curate.description import describe

    found = describe(read_records(path, Example))
    return {
        "rows kept": float(found.all.rows),
        "of prompts": float(folder.manifest().get("generate", {}).get("generations", 0)),
        "distinct instructions": float(found.instructions),
        "distinct words": round(found.all.distinct(1), 3),
        "distinct runs of 3 words": round(found.all.distinct(3), 3),
        "words measured": float(found.all.measured),
    }


def _shown(name: str | list[str]) -> str:
    return name if isinstance(name, str) else " or ".join(name)
