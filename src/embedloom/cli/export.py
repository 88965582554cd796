"""`embedloom export`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("export")
@click.argument("rows", metavar="RUN")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder to write; an earlier export there is replaced.",
)
def command(rows: str, out: Path) -> None:
    """Writes a run's curated rows as a data set: Parquet files and a card, which datasets.load_dataset(DIR) reads.

    RUN is a run folder, a JSONL file of training rows, or sample:llm-written.
    """
    from embedloom.cli.describing import export

    count = export(rows, out)
    click.echo(f"{count:,} rows: {out}")
