"""`embedloom study`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from embedloom.cli.study_file import Cell, StudyFile

STUDIES = Path("runs/study")


@click.command("study")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Changes the base of all cells, as in train.epochs=2."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the study; runs/study/<name> if left out.")
@click.option(
    "--share",
    type=click.Path(path_type=Path),
    help="Folder of what cells share, also between studies; runs/study/shared, or below --out.",
)
@click.option("--only", multiple=True, metavar="CELL", help="Only this cell and those that it is made from.")
@click.option("--dry-run", is_flag=True, help="Check the file, print each cell and what it changes; run nothing.")
def command(
    file: Path, settings: tuple[str, ...], out: Path | None, share: Path | None, only: tuple[str, ...], dry_run: bool
) -> None:
    """Runs the cells of a study and compares each with the reference cell: study.md, study.jsonl and study.html.

    FILE names a base recipe and cells, each with the settings that it changes. Cells share data, generations, curated
    rows, trainings and vectors where these are the same. Interrupted and started again, it goes on where it stopped; a
    cell that fails is recorded and the others go on, and the exit status is then 1.
    """
    from embedloom.cli.study_file import read_study
    from embedloom.cli.studying import PAGE, TABLE, Place, run_study
    from embedloom.errors import EmbedloomError
    from embedloom.run import RunFolder

    study = read_study(file, settings)
    if unknown := sorted(set(only) - {cell.name for cell in study.cells}):
        raise EmbedloomError(f"no cell {unknown[0]!r}; cells are {', '.join(cell.name for cell in study.cells)}")
    if dry_run:
        _show(study)
        return
    place = Place(out or STUDIES / study.name, share or (out or STUDIES) / "shared")
    with RunFolder(place.out).locked():
        failed = run_study(study, place, only)
    click.echo((place.out / TABLE).read_text(encoding="utf-8"))
    click.echo(f"table: {place.out / TABLE}\npage:  {place.out / PAGE}")
    if failed:
        sys.exit(1)


def _show(study: StudyFile) -> None:
    from embedloom.cli.studying import absent_sets

    click.echo(f"{study.name}: {study.question}\nreference: {study.reference}")
    if study.limit:
        click.echo(f"at most {study.limit:,} items of each set")
    for name in absent_sets(study):
        click.echo(f"evaluation set {name} is not there; it will be left out")
    for cell in study.cells:
        paper = "" if cell.paper is None else f" (paper: {cell.paper:.1f})"
        click.echo(f"\n{cell.name}: {cell.title}{paper}")
        for line in _told(cell, study.cell(study.reference)):
            click.echo(f"  {line}")


def _told(cell: Cell, reference: Cell) -> list[str]:
    """What a cell does, and which settings it has unlike the reference."""
    if cell.model:
        return [f"measures {cell.model}; nothing is trained"]
    if cell.merge:
        return [f"merges {', '.join(cell.merge)} ({cell.method})"]
    theirs = _flat(reference.recipe.model_dump())
    mine = _flat(cell.recipe.model_dump())
    lines = [f"{key} = {value!r}" for key, value in mine.items() if value != theirs.get(key) and key != "name"]
    return [*lines, *([] if cell.until == "train" else [f"stops behind {cell.until}"])] or ["as the recipe says"]


def _flat(settings: dict[str, object], before: str = "") -> dict[str, object]:
    out: dict[str, object] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            out |= _flat(value, f"{before}{key}.")
        else:
            out[before + key] = value
    return out
