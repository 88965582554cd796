"""`embedloom card`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("card")
@click.argument("rows", metavar="ROWS")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path(), show_default="this folder", help="Where to write it."
)
def command(rows: str, out: Path) -> None:
    """Writes the data card of training rows: data.html and data.md.

    ROWS is a run folder, a JSONL file of training rows, or sample:llm-written. `embedloom run` writes a fuller card
    of its own rows, with what was asked for and what was dropped.
    """
    from embedloom.cli.describing import PAGE, rows_of, write_card
    from embedloom.curate.card import Card
    from embedloom.curate.description import describe

    title = Path(rows).resolve().name if Path(rows).exists() else rows
    write_card(Card(title, describe(rows_of(rows))), out)
    click.echo(out / PAGE)
