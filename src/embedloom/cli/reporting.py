"""The last stage: the report page, and what the terminal shows of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedloom.cli.describing import PAGE
from embedloom.cli.measure import LEADERBOARD, SEARCHES, Found
from embedloom.cli.pipeline import Run, source_commit, versions
from embedloom.cli.planning import training_file
from embedloom.cli.run_history import tallies, training_scores, training_steps
from embedloom.cli.tuning import MODEL
from embedloom.model.registry import licence_of
from embedloom.recipe import resolved
from embedloom.records import Example
from embedloom.run import atomic_file, read_records

if TYPE_CHECKING:
    from embedloom.evals.leaderboard import LeaderboardRow

REPORT = "report.html"
SHOWN_EXAMPLES = 6


def report(run: Run) -> None:
    """Writes `report.html` and prints the table and the searches."""
    rows = _leaderboard(run)
    searches = list(_read(run, SEARCHES, Found))
    with atomic_file(run.folder / REPORT) as file:
        file.write(_page(run, rows, searches))
    _print(run, rows, searches)


def _page(run: Run, rows: tuple[LeaderboardRow, ...], searches: list[Found]) -> str:
    from embedloom.evals.report import Report, ReportHit, ReportSearch, StageLine, render_report

    manifest = run.folder.manifest()
    settings = resolved(run.recipe)
    base = run.recipe.train.base
    found = tuple(
        ReportSearch(s.query, tuple(ReportHit(h.document_id, t, h.score) for h, t in zip(s.hits, s.texts, strict=True)))
        for s in searches
    )
    notes = {"base model's licence": licence_of(base), "commit": source_commit(), "run folder": run.folder.path.name}
    return render_report(
        Report(
            title=run.recipe.name,
            model=f"{run.recipe.name}/{MODEL}",
            base=base,
            fingerprint=str(manifest.get("train", {}).get("fingerprint", "")),
            rows=rows,
            steps=training_steps(run.folder.path),
            scores=training_scores(run.folder.path),
            stages=tuple(StageLine(name, float(entry["seconds"]), _detail(entry)) for name, entry in manifest.items()),
            tallies=tallies(run.folder.path, run.folder / training_file(run)),
            examples=tuple(islice(_read(run, training_file(run), Example), SHOWN_EXAMPLES)),
            searches=found,
            recipe=json.dumps(settings, ensure_ascii=False, indent=1),
            versions=versions(),
            notes={name: text for name, text in notes.items() if text},
            data_page=PAGE if (run.folder / PAGE).exists() else "",
        )
    )


def _print(run: Run, rows: tuple[LeaderboardRow, ...], searches: list[Found]) -> None:
    from rich.console import Console
    from rich.table import Table

    from embedloom.evals.leaderboard import leaderboard_table

    console = Console()
    if rows:
        heads, lines = leaderboard_table(rows)
        table = Table(title=f"{run.recipe.name}: figures x 100 with 95 % intervals")
        for number, head in enumerate(heads):
            table.add_column(head, justify="left" if number < 2 else "right")
        for line in lines:
            table.add_row(*(cell.replace(" [", "\n[") for cell in line))
        console.print(table)
    for search in searches:
        console.print(f"\n[bold]{_plain(search.query)}[/bold]")
        for hit, text in zip(search.hits, search.texts, strict=True):
            shown = f"  {hit.score:.3f}  {hit.document_id}  {' '.join(text.split())}"
            console.print(_plain(shown), highlight=False, no_wrap=True, overflow="ellipsis", crop=True)
    click.echo(f"\nreport: {run.folder / REPORT}\ndata:   {run.folder / PAGE}\nmodel:  {run.folder / MODEL}")


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _detail(entry: dict[str, Any]) -> str:
    counts = {key: value for key, value in entry.items() if isinstance(value, int) and key != "seconds"}
    return ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in counts.items())


def _leaderboard(run: Run) -> tuple[LeaderboardRow, ...]:
    from embedloom.evals.leaderboard import LeaderboardRow

    return tuple(_read(run, LEADERBOARD, LeaderboardRow))


def _read(run: Run, name: str, kind: Any) -> Iterable[Any]:
    path: Path = run.folder / name
    return read_records(path, kind) if path.exists() else ()
