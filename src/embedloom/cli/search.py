"""`embedloom search`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("search")
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("queries", nargs=-1, required=True, metavar="QUERY...")
@click.option("--model", required=True, help="The model that made the index; another one is refused.")
@click.option("--instruction", help="What the queries are for, instead of the index's own.")
@click.option("-k", "--hits", type=click.IntRange(min=1), default=5, show_default=True, help="Documents a query.")
def command(index: Path, queries: tuple[str, ...], model: str, instruction: str | None, hits: int) -> None:
    """Prints the nearest documents of INDEX for each QUERY."""
    from embedloom.cli.opening import open_embedder
    from embedloom.cli.progress import notice
    from embedloom.search.index import open_index

    opened = open_index(index)
    embedder = open_embedder(model, notice=notice)
    used = opened.model.instruction if instruction is None else instruction
    for query, found in zip(queries, opened.search(list(queries), embedder, used, hits), strict=True):
        texts = {document.id: document.content for document in opened.documents([hit.document_id for hit in found])}
        click.echo(query)
        for hit in found:
            click.echo(f"  {hit.score:.3f}  {hit.document_id}  {' '.join(texts[hit.document_id].split())[:100]}")
