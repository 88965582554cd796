"""Several models side by side: a row a set, averages by family, languages, with intervals and paired differences.

Sets that differ in their language alone make one row, the mean of its languages, as MTEB counts them. Every mean's
interval comes from resamples of each set's items, all models on the same ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedloom.errors import DataError
from embedloom.evals.intervals import Estimate, interval_of, resampled_means, resampled_spearman
from embedloom.evals.languages import CLASSES, TaskLanguage, language_groups, task_language
from embedloom.evals.leaderboard import verdict
from embedloom.evals.result import SetResult

FAMILIES = {
    "retrieval": "Retrieval",
    "reranking": "Reranking",
    "sts": "Similarity",
    "pair-classification": "Pair classification",
    "bitext": "Translations",
    "classification": "Classification",
    "clustering": "Clustering",
}
"""Families in the order of a report, and what their heads say."""

SetKey = tuple[str, str, str]
"""A set: task, family, split."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One model's figure, and what it has more than the baseline; None where one of both wasn't measured."""

    figure: Estimate
    difference: Estimate | None = None


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """A set, or the mean of a set's languages.

    Attributes:
        name: of the set, or of what its languages have in common.
        family: a key of `FAMILIES`.
        metric: the main figure's name.
        count: queries, pairs or texts, of all languages together.
        languages: how many sets this is the mean of; 0 for a set of its own.
        limit: which part was measured; "" for all of it.
        instruction: of the models that have one.
        cells: {model: its cell}; a model that wasn't measured on all of it is absent.
    """

    name: str
    family: str
    metric: str
    count: int
    languages: int
    limit: str
    instruction: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class LanguageLine:
    """One language of a group."""

    language: TaskLanguage
    count: int
    cells: Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class LanguageTable:
    """The sets of a group by language; `classes` are means: {class: (how many languages, {model: cell})}."""

    name: str
    family: str
    metric: str
    lines: tuple[LanguageLine, ...]
    classes: Mapping[str, tuple[int, Mapping[str, Cell]]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Models side by side.

    Attributes:
        models: in the order in which they were measured.
        baseline: the model that the others are measured against; "" without one.
        rows: by family.
        averages: {family: {model: mean of its rows}}, of models that have all rows of the family.
        overall: {model: mean of the families}, of models that have all families.
        languages: groups of sets that differ in their language.
    """

    models: tuple[str, ...]
    baseline: str
    rows: tuple[ComparisonRow, ...]
    averages: Mapping[str, Mapping[str, Cell]]
    overall: Mapping[str, Cell]
    languages: tuple[LanguageTable, ...]

    def verdict(self, model: str) -> dict[str, int]:
        """On how many rows a model is ahead of the baseline, behind it, or neither (the interval holds 0)."""
        return verdict(row.cells[model].difference for row in self.rows if model in row.cells)


def compare(results: Mapping[str, Sequence[SetResult]], *, baseline: str = "") -> Comparison:
    """The comparison of models.

    Args:
        results: {model: its results}.
        baseline: one of the models, which the others' differences are taken from.

    Raises:
        DataError: no results, an unknown baseline, or models were measured on different rows of one set.
    """
    if not any(results.values()):
        raise DataError("there are no results to compare")
    if baseline and baseline not in results:
        raise DataError(f"no results of the baseline {baseline!r}; expected one of {', '.join(results)}")
    by_set: dict[SetKey, dict[str, SetResult]] = {}
    for model, found in results.items():
        for result in found:
            by_set.setdefault((result.task, result.family, result.split), {})[model] = result
    figures = {key: _Figures(of_model) for key, of_model in by_set.items()}
    groups = language_groups(by_set)
    group_of = {(task, *group[1:]): group for group, tasks in groups.items() for task in tasks}
    members: dict[SetKey, list[SetKey]] = {}
    for key in by_set:
        members.setdefault(group_of.get(key, key), []).append(key)
    means = {name: _mean([figures[key] for key in keys]) for name, keys in members.items()}
    order = sorted(means, key=lambda name: list(FAMILIES).index(name[1]))
    rows = tuple(_row(name, [by_set[key] for key in members[name]], means[name], baseline) for name in order)
    families = list(dict.fromkeys(name[1] for name in order))
    averaged = {family: _mean([means[name] for name in order if name[1] == family]) for family in families}
    return Comparison(
        models=tuple(results),
        baseline=baseline,
        rows=rows,
        averages={family: _cells(one, baseline) for family, one in averaged.items()},
        overall=_cells(_mean(list(averaged.values())), baseline),
        languages=tuple(
            _language_table(group, [key for key in by_set if group_of.get(key) == group], by_set, figures, baseline)
            for group in groups
        ),
    )


class _Figures:
    """Figures of models on one set or on a mean of sets, with their resamples, all on the same draws."""

    def __init__(self, of_model: Mapping[str, SetResult]) -> None:
        results = list(of_model.values())
        first = results[0]
        for other in results[1:]:
            if (other.count, other.limit, len(other.items)) != (first.count, first.limit, len(first.items)) or (
                not np.array_equal(other.gold, first.gold)
            ):
                raise DataError(f"{first.task}: models were measured on different rows; evaluate them on the same set")
        self.values = {model: result.main.estimate.value for model, result in of_model.items()}
        # A seed of the set's own: means of several sets need draws that don't depend on each other.
        seed = zlib.crc32(f"{first.task}\0{first.family}\0{first.split}".encode())
        columns = [result.items for result in results]
        drawn = (
            resampled_spearman(first.gold, columns, seed=seed)
            if len(first.gold)
            else resampled_means(columns, seed=seed)
        )
        self.drawn: dict[str, NDArray[np.float64]] = dict(zip(of_model, drawn.T, strict=True))


class _Mean(_Figures):
    def __init__(self, parts: Sequence[_Figures]) -> None:
        everywhere = [model for model in parts[0].values if all(model in part.values for part in parts)]
        self.values = {model: float(np.mean([part.values[model] for part in parts])) for model in everywhere}
        self.drawn = {model: np.mean([part.drawn[model] for part in parts], axis=0) for model in everywhere}


def _mean(parts: Sequence[_Figures]) -> _Figures:
    return parts[0] if len(parts) == 1 else _Mean(parts)


def _cells(figures: _Figures, baseline: str) -> dict[str, Cell]:
    cells = {}
    for model, value in figures.values.items():
        difference = None
        if baseline in figures.values and model != baseline:
            apart = figures.drawn[model] - figures.drawn[baseline]
            difference = interval_of(value - figures.values[baseline], apart)
        cells[model] = Cell(interval_of(value, figures.drawn[model]), difference)
    return cells


def _row(name: SetKey, sets: Sequence[Mapping[str, SetResult]], figures: _Figures, baseline: str) -> ComparisonRow:
    first = next(iter(sets[0].values()))
    limits = list(dict.fromkeys(next(iter(one.values())).limit for one in sets))
    instructions = [result.instruction for result in sets[0].values() if result.instruction]
    return ComparisonRow(
        name=name[0] if name[2] == "test" else f"{name[0]} ({name[2]})",
        family=name[1],
        metric=first.main.name,
        count=sum(next(iter(one.values())).count for one in sets),
        languages=len(sets) if len(sets) > 1 else 0,
        limit=limits[0] if len(limits) == 1 else "; ".join(limit for limit in limits if limit),
        instruction=instructions[0] if instructions else "",
        cells=_cells(figures, baseline),
    )


def _language_table(
    group: SetKey,
    keys: Sequence[SetKey],
    by_set: Mapping[SetKey, Mapping[str, SetResult]],
    figures: Mapping[SetKey, _Figures],
    baseline: str,
) -> LanguageTable:
    languages = {key: found for key in keys if (found := task_language(key[0])) is not None}
    # Tatoeba's other side is English everywhere, and need not be said of each.
    if all(found.label.endswith("-eng") for found in languages.values()):
        languages = {key: _without_english(found) for key, found in languages.items()}
    ordered = sorted(languages, key=lambda key: (CLASSES.index(languages[key].resources), languages[key].name))
    lines = tuple(
        LanguageLine(languages[key], next(iter(by_set[key].values())).count, _cells(figures[key], baseline))
        for key in ordered
    )
    classes = {}
    for name in CLASSES:
        inside = [figures[key] for key in ordered if languages[key].resources == name]
        if inside:
            classes[name] = (len(inside), _cells(_mean(inside), baseline))
    metric = next(iter(by_set[keys[0]].values())).main.name
    return LanguageTable(group[0], group[1], metric, lines, classes)


def _without_english(found: TaskLanguage) -> TaskLanguage:
    name = found.name.removesuffix(" – English")
    return TaskLanguage(found.group, found.label, name, found.resources, found.listed)
