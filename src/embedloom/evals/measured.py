"""What was measured, on disk: one line a model and set, whole enough to compare models item by item later."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedloom.errors import DataError
from embedloom.evals.intervals import Estimate
from embedloom.evals.result import Measure, SetResult
from embedloom.evals.suite import EvalSet
from embedloom.records import content_id
from embedloom.run import read_records

RESULTS = "results.jsonl"
"""File of `Measured` in a folder of results."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a set with its 95 % interval; None where it isn't known."""

    metric: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    """One model on one set.

    `content` is the hash of the set's rows, `items` and `gold` are those of `SetResult`, rounded to eight digits.
    """

    model: str
    fingerprint: str
    task: str
    family: str
    split: str
    content: str
    instruction: str
    figures: tuple[Figure, ...]
    count: int
    seconds: float
    limit: str = ""
    items: tuple[float, ...] = ()
    gold: tuple[float, ...] = ()

    @property
    def id(self) -> str:
        """Hash of what was asked: a set with the same rows, by the same model, under the same instruction."""
        return measured_id(self.fingerprint or self.model, self.task, self.split, self.content, self.instruction)


def measured_id(model: str, task: str, split: str, content: str, instruction: str) -> str:
    """The id of a `Measured` before it is measured; `model` is the fingerprint, or the name where there is none."""
    return content_id("measured", model, task, split, content, instruction)


def set_content(found: EvalSet) -> str:
    """Hash of a set's rows and of how they are measured, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((found.family, sorted(found.settings.items()))).encode())
    rows: Iterable[object] = (
        (*found.rows.corpus, *found.rows.queries.items(), *found.rows.qrels.items())
        if found.family == "retrieval"
        else found.rows
    )
    for row in rows:
        digest.update(repr(row).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def measured(result: SetResult, *, model: str, fingerprint: str, content: str) -> Measured:
    """A result as a line."""
    return Measured(
        model=model,
        fingerprint=fingerprint,
        task=result.task,
        family=result.family,
        split=result.split,
        content=content,
        instruction=result.instruction,
        figures=tuple(
            Figure(one.name, *(_finite(value) for value in (one.estimate.value, *one.estimate.interval)))
            for one in result.measures
        ),
        count=result.count,
        seconds=round(result.seconds, 3),
        limit=result.limit,
        items=_numbers(result.items),
        gold=_numbers(result.gold),
    )


def result_of(line: Measured) -> SetResult:
    """The result that a line tells.

    Raises:
        DataError: it has no figure.
    """
    if not line.figures:
        raise DataError(f"the result of {line.model} on {line.task} has no figure")
    return SetResult(
        task=line.task,
        family=line.family,
        split=line.split,
        measures=tuple(
            Measure(one.metric, Estimate(*(_number(value) for value in (one.value, one.low, one.high))))
            for one in line.figures
        ),
        items=np.array(line.items),
        gold=np.array(line.gold),
        instruction=line.instruction,
        count=line.count,
        seconds=line.seconds,
        limit=line.limit,
    )


def read_measured(folders: Sequence[Path]) -> list[Measured]:
    """The lines of folders of results.

    In one folder the last fingerprint of a name counts, so that a model that was trained anew stands for itself.

    Raises:
        DataError: a folder has none, a line is malformed (names file and line), or one name stands for different models
            in two folders.
    """
    prints: dict[str, str] = {}
    lines: dict[tuple[str, str], Measured] = {}
    for folder in folders:
        if not (folder / RESULTS).is_file():
            raise DataError(f"no {RESULTS} here; expected a folder that `embedloom eval --results` wrote", folder)
        found = list(read_records(folder / RESULTS, Measured))
        last = {line.model: line.fingerprint for line in found}
        for model, fingerprint in last.items():
            if prints.setdefault(model, fingerprint) != fingerprint:
                raise DataError(
                    f"{model!r} is another model here than in {folders[0]}; evaluate it as LABEL=MODEL", folder
                )
        lines |= {(line.model, line.id): line for line in found if line.fingerprint == last[line.model]}
    return list(lines.values())


def results_by_model(lines: Iterable[Measured]) -> dict[str, list[SetResult]]:
    """{model: its results}, both in the order in which they occur; of two results of a set the last counts."""
    last: dict[tuple[str, str, str, str], Measured] = {}
    for line in lines:
        last[line.model, line.task, line.family, line.split] = line
    results: dict[str, list[SetResult]] = {}
    for line in last.values():
        results.setdefault(line.model, []).append(result_of(line))
    return results


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _numbers(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 8) for value in values)
