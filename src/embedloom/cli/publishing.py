"""What a folder of results becomes: the leaderboard's page and text, scores, mteb's files, heads of model cards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom.cli.pipeline import source_commit, versions
from embedloom.cli.run_history import BY_FAMILY, STEP_LOG, tallies, training_scores, training_steps
from embedloom.errors import DataError
from embedloom.run import atomic_file, read_records, write_records

if TYPE_CHECKING:
    from embedloom.evals.comparison import Comparison
    from embedloom.evals.comparison_page import ModelNote, RunSummary
    from embedloom.evals.measured import Measured

PAGE, TEXT = "report.html", "report.md"
MODELS, SPREADS, INVARIANCES = "models.jsonl", "sensitivity.jsonl", "invariance.jsonl"
SCORES, SPEED = "scores.jsonl", "speed.jsonl"


def publish(lines: Sequence[Measured], folders: Sequence[Path], out: Path, *, baseline: str, title: str) -> Comparison:
    """Writes everything to `out` and returns the comparison.

    Args:
        lines: what was measured, of the models and sets that are shown.
        folders: where the models' notes, speeds and the like lie.
        out: the folder that is written to.
        baseline: the model that the others' differences are taken from; "" for none.
        title: of the page.

    Raises:
        DataError: the results can't be compared, or a file of the folders is malformed.
    """
    from embedloom.evals.comparison import compare
    from embedloom.evals.comparison_page import ComparisonPage, ModelNote, comparison_html, comparison_markdown
    from embedloom.evals.measured import results_by_model
    from embedloom.evals.robustness import Invariance, Spread
    from embedloom.evals.speed import Speed, summed

    comparison = compare(results_by_model(lines), baseline=baseline)
    prints = {line.model: line.fingerprint for line in lines}
    notes = {
        note.label: note for note in _read(folders, MODELS, ModelNote) if prints.get(note.label) == note.fingerprint
    }
    told = tuple(notes.get(model) or ModelNote(model, model, prints[model]) for model in comparison.models)
    tasks = {(line.model, line.task) for line in lines}
    spreads = {(one.model, one.task): one for one in _read(folders, SPREADS, Spread)}
    invariances = {(one.model, one.what): one for one in _read(folders, INVARIANCES, Invariance)}
    page = ComparisonPage(
        title=title,
        comparison=comparison,
        models=told,
        speeds=summed(one for one in _read(folders, SPEED, Speed) if prints.get(one.model) == one.fingerprint),
        runs=tuple(summary for note in told if (summary := _run_summary(note)) is not None),
        spreads=tuple(one for key, one in spreads.items() if key in tasks),
        invariances=tuple(one for (model, _), one in invariances.items() if model in prints),
        versions=versions(),
        notes={"commit": commit} if (commit := source_commit()) else {},
    )
    for name, text in ((PAGE, comparison_html(page)), (TEXT, comparison_markdown(page))):
        with atomic_file(out / name) as file:
            file.write(text)
    write_scores(lines, out / SCORES)
    _write_for_others(lines, {note.label: note for note in told}, out)
    return comparison


def write_scores(lines: Iterable[Measured], path: Path) -> None:
    """Writes every figure, one JSON object a line."""
    from embedloom.evals.measured import result_of

    scores = (
        replace(score, limit=line.limit)
        for line in lines
        for score in result_of(line).scores(model=line.model, fingerprint=line.fingerprint)
    )
    write_records(path, scores)


def add_notes(path: Path, notes: Sequence[Any], key: Any) -> None:
    """Adds records to a file, in place of those with the same key."""
    from embedloom.evals.comparison_page import ModelNote
    from embedloom.evals.robustness import Invariance, Spread

    kinds: dict[str, Any] = {MODELS: ModelNote, SPREADS: Spread, INVARIANCES: Invariance}
    before = list(read_records(path, kinds[path.name])) if path.exists() else []
    kept = {key(note): note for note in (*before, *notes)}
    if kept:
        write_records(path, kept.values())


def _write_for_others(lines: Sequence[Measured], notes: Mapping[str, ModelNote], out: Path) -> None:
    from embedloom.evals.mteb_results import file_stem, model_index, model_meta, task_results

    by_model: dict[str, list[Measured]] = {}
    for line in lines:
        by_model.setdefault(line.model, []).append(line)
    for model, of_model in by_model.items():
        note = notes[model]
        stem = file_stem(model)
        folder = out / "mteb" / stem / (note.fingerprint or "none")
        for task, content in task_results(of_model).items():
            _write_json(folder / f"{file_stem(task)}.json", content)
        _write_json(folder / "model_meta.json", model_meta(f"embedloom/{stem}", note.fingerprint, note.dimension))
        with atomic_file(out / "mteb" / stem / "model-index.md") as file:
            file.write(model_index(model, of_model))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_file(path) as file:
        json.dump(content, file, ensure_ascii=False, indent=1)


def _read(folders: Sequence[Path], name: str, kind: Any) -> Iterator[Any]:
    for folder in folders:
        if (folder / name).exists():
            yield from read_records(folder / name, kind)


def _run_summary(note: ModelNote) -> RunSummary | None:
    """What the run folder says that a model lies in; None where it lies in none."""
    from embedloom.evals.comparison_page import RunSummary

    folder = Path(note.model.removeprefix("path:")).parent
    if not (folder / "manifest.json").is_file() or not (folder / STEP_LOG).is_file():
        return None
    rows = next((folder / name for name in ("mined.jsonl", "train.jsonl") if (folder / name).exists()), None)
    counted = tallies(folder, rows)
    return RunSummary(
        label=note.label,
        base=_base(folder),
        rows=sum(count for tally in counted if tally.title == BY_FAMILY for _, count in tally.counts),
        steps=training_steps(folder),
        scores=training_scores(folder),
        tallies=counted,
        data_page=str(folder / "data.html") if (folder / "data.html").exists() else "",
    )


def _base(folder: Path) -> str:
    path = folder / "recipe.json"
    if not path.exists():
        return ""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["recipe"]["train"]["base"])
    except (ValueError, KeyError, TypeError):
        raise DataError("not the recipe of a run: it has no recipe.train.base", path) from None
