"""What a run folder tells of its training and its data, for the pages: steps, development scores, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom.records import Example, Reject, from_json
from embedloom.run import read_objects, read_records

if TYPE_CHECKING:
    from embedloom.evals.report import Tally, TrainingScore, TrainingStep

BY_FAMILY = "Training rows by family"
STEP_LOG, SCORE_LOG = "training/log.jsonl", "training/development.jsonl"


def training_steps(folder: Path) -> tuple[TrainingStep, ...]:
    """The optimizer steps of a run, in order; none where it has not trained. A figure that was not logged is 0."""
    from embedloom.evals.report import TrainingStep

    fields = ("step", "loss", "learning_rate", "gradient_norm")
    lines = _objects(folder / STEP_LOG)
    return tuple(from_json(TrainingStep, {key: obj.get(key, 0) for key in fields}) for obj in lines)


def training_scores(folder: Path) -> tuple[TrainingScore, ...]:
    """The figures on the development sets, in order; none where the training was not measured as it went."""
    from embedloom.evals.report import TrainingScore

    fields = ("step", "score")
    told = (obj for obj in _objects(folder / SCORE_LOG) if obj.keys() >= set(fields))
    return tuple(from_json(TrainingScore, {key: obj[key] for key in fields}) for obj in told)


def tallies(folder: Path, rows: Path | None) -> tuple[Tally, ...]:
    """Whole counts: training rows by family and by language, and what was dropped by stage and rule.

    Args:
        folder: of the run.
        rows: the file that was trained on, if it is there.
    """
    from embedloom.evals.report import Tally

    families: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    for example in read_records(rows, Example) if rows is not None and rows.exists() else ():
        families[example.family or example.source or "unnamed"] += 1
        languages[example.language or "not stated"] += 1
    files = sorted((folder / "rejects").glob("*.jsonl"))
    rules = Counter(f"{reject.stage}: {reject.rule}" for file in files for reject in read_records(file, Reject))
    counted = (
        (BY_FAMILY, families),
        ("Training rows by language", languages),
        ("Dropped, by stage and rule", rules),
    )
    return tuple(Tally(title, tuple(counts.items())) for title, counts in counted if counts)


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    lines: Iterable[tuple[int, dict[str, Any]]] = read_objects(path) if path.exists() else ()
    return (obj for _, obj in lines)
