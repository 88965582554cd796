"""The file of a study: a grid of cells, each a recipe, of a shared base and what the cell changes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embedloom.errors import RecipeError
from embedloom.recipe import Recipe, merge, read_setting, read_toml, recipe_of
from embedloom.recipe_errors import explain

CELL = "cell:"
"""Before the name of an earlier cell, in `train.base`: its model is what the training starts from."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Grid(_Section):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    question: str = ""
    base: list[str] = []
    """Recipes, relative to the study's file, merged left to right."""
    reference: str
    limit: int = Field(default=0, ge=0)
    """Items of an evaluation set that are measured; 0 for all."""
    every: dict[str, Any] = {}
    """Settings of every cell."""
    cells: dict[str, dict[str, Any]]


class _Own(_Section):
    """What a cell says beside its recipe's settings."""

    title: str = ""
    paper: float | None = None
    model: str = ""
    merge: list[str] = []
    method: Literal["linear", "slerp"] = "linear"
    until: Literal["curate", "train"] = "train"


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        name: the cell's, a folder's name.
        title: what it is, for people.
        recipe: its recipe. Its `train.base` may name an earlier cell.
        paper: the average that the paper has for such a cell, in points.
        model: a model that is measured as it is; nothing is trained then.
        merge: earlier cells whose models are merged in place of a training.
        method: how.
        until: the stage behind which nothing is done; `curate` for a cell that is about data alone.
    """

    name: str
    title: str
    recipe: Recipe
    paper: float | None = None
    model: str = ""
    merge: tuple[str, ...] = ()
    method: str = "linear"
    until: str = "train"

    @property
    def needs(self) -> tuple[str, ...]:
        """Cells whose models it is made from."""
        base = self.recipe.train.base
        return (*self.merge, *((base.removeprefix(CELL),) if base.startswith(CELL) and not self.model else ()))


@dataclass(frozen=True)
class StudyFile:
    """A study as its file says it; cells in the file's order."""

    name: str
    question: str
    reference: str
    cells: tuple[Cell, ...]
    limit: int = 0

    def cell(self, name: str) -> Cell:
        """The cell of a name."""
        return next(cell for cell in self.cells if cell.name == name)


def read_study(path: Path, settings: Iterable[str] = ()) -> StudyFile:
    """Reads a study and checks every cell's recipe.

    Args:
        path: the TOML file.
        settings: `section.key=value`, over the base of all cells and under what a cell says.

    Raises:
        RecipeError: the file can't be read; a key is unknown in the study or in a cell (the nearest known one is
            named); a value is wrong; a cell needs one that does not stand before it.
    """
    try:
        grid = _Grid.model_validate(read_toml(path))
    except ValidationError as error:
        raise RecipeError(f"{path}: {explain(error, _Grid)}") from None
    shared: dict[str, Any] = {}
    for name in grid.base:
        merge(shared, read_toml(path.parent / name))
    merge(shared, grid.every)
    for setting in settings:
        merge(shared, read_setting(setting))
    cells: list[Cell] = []
    for name, said in grid.cells.items():
        cell = _cell(path, name, said, shared)
        for other in cell.needs:
            if other not in {earlier.name for earlier in cells}:
                known = ", ".join(earlier.name for earlier in cells) or "none"
                raise RecipeError(f"{path}, cell {name!r}: needs a cell {other!r} before it; before it are {known}")
        cells.append(cell)
    if grid.reference not in grid.cells:
        raise RecipeError(
            f"{path}: reference is {grid.reference!r}, which is no cell; cells are {', '.join(grid.cells)}"
        )
    return StudyFile(grid.name, grid.question, grid.reference, tuple(cells), grid.limit)


def _cell(path: Path, name: str, said: Mapping[str, Any], shared: Mapping[str, Any]) -> Cell:
    where = f"{path}, cell {name!r}"
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
        raise RecipeError(f"{where}: a cell's name is letters, digits, '-', '_' and '.'")
    own = {key: said[key] for key in said if key in _Own.model_fields}
    try:
        told = _Own.model_validate(own)
    except ValidationError as error:
        raise RecipeError(f"{where}: {explain(error, _Own)}") from None
    if told.model and told.merge:
        raise RecipeError(f"{where}: has a model and merges others; one of the two")
    changed = copy.deepcopy(dict(shared))
    merge(changed, {"name": name})
    merge(changed, {key: value for key, value in said.items() if key not in own})
    recipe = recipe_of(changed, where)
    return Cell(name, told.title or name, recipe, told.paper, told.model, tuple(told.merge), told.method, told.until)
