"""`embedloom leaderboard`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from embedloom.evals.comparison import Comparison


@click.command("leaderboard")
@click.argument(
    "folders", nargs=-1, required=True, type=click.Path(file_okay=False, path_type=Path), metavar="RESULTS..."
)
@click.option("--baseline", default="", help="The model that the others' differences are taken from.")
@click.option("--models", help="Only these, by their names with commas between, in this order.")
@click.option("--title", default="Leaderboard", show_default=True, help="Of the page.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder that is written.")
def command(folders: tuple[Path, ...], baseline: str, models: str | None, title: str, out: Path) -> None:
    """Puts what `embedloom eval --results` measured at several times into one report, without measuring anything.

    The report needs nothing but itself: report.html, and report.md for a repository. Beside it lie scores.jsonl, and
    for each model the files that the mteb library writes, and a head for its model card.
    """
    from embedloom.cli.publishing import PAGE, publish
    from embedloom.errors import DataError
    from embedloom.evals.measured import read_measured

    lines = read_measured(folders)
    if models is not None:
        wanted = [name.strip() for name in models.split(",")]
        there = {line.model for line in lines}
        for name in wanted:
            if name not in there:
                raise DataError(f"no results of {name!r}; there are those of {', '.join(sorted(there))}")
        lines = sorted((line for line in lines if line.model in wanted), key=lambda line: wanted.index(line.model))
    print_table(publish(lines, folders, out, baseline=baseline, title=title), title)
    click.echo(f"report: {out / PAGE}")


def print_table(comparison: Comparison, title: str) -> None:
    """Prints the leaderboard."""
    from rich.console import Console
    from rich.table import Table

    from embedloom.evals.comparison_page import comparison_table

    heads, lines = comparison_table(comparison)
    behind = f"; in brackets: more than {comparison.baseline}" if comparison.baseline else ""
    table = Table(title=f"{title}: figures x 100 with 95 % intervals{behind}")
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number < 2 else "right")
    means = next((place for place, line in enumerate(lines) if not line[1]), len(lines))
    for place, line in enumerate(lines):
        cells = (
            cell.replace(" (", "\n(").replace(" [", "\n[", 1) if number > 2 else cell
            for number, cell in enumerate(line)
        )
        table.add_row(*cells, end_section=place == means - 1)
    console = Console()
    # In a file or a pipe nobody's window cuts the cells.
    wide = None if console.is_terminal else max(console.width, 44 + 26 * len(comparison.models))
    Console(width=wide).print(table)
