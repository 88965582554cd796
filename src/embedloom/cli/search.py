"""`embedloom search`."""

from __future__ import annotations

import click


@click.command("search")
@click.argument("index")
@click.argument("queries", nargs=-1, required=True, metavar="QUERY...")
@click.option("--model", required=True, help="The model that made the index; another one is refused.")
@click.option("--instruction", help="What the queries are for, instead of the index's own.")
@click.option("-k", "--hits", type=click.IntRange(min=1), default=5, show_default=True, help="Documents a query.")
@click.option(
    "--by", type=click.Choice(["vectors", "words", "hybrid"]), default="vectors", show_default=True,
    help="Words and hybrid want an index with --words.",
)  # fmt: skip
@click.option("--where", multiple=True, metavar="CONDITION", help="As in 'year >= 2020'; may be repeated, all count.")
@click.option("--probes", type=click.IntRange(min=1), default=None, help="How widely an approximate index looks.")
@click.option("--exact", is_flag=True, help="Read every full vector, whatever the index's kind.")
def command(
    index: str,
    queries: tuple[str, ...],
    model: str,
    instruction: str | None,
    hits: int,
    by: str,
    where: tuple[str, ...],
    probes: int | None,
    exact: bool,
) -> None:
    """Prints the nearest documents of INDEX for each QUERY."""
    from embedloom.cli.opening import open_embedder
    from embedloom.cli.progress import notice
    from embedloom.errors import DataError
    from embedloom.search.index import open_index
    from embedloom.search.tags import read_conditions

    if any(not query.strip() for query in queries):
        raise DataError("a query is empty; expected some words in each")
    conditions = read_conditions(where)
    opened = open_index(index)
    embedder = open_embedder(model, notice=notice)
    rows = opened.search(
        list(queries), embedder, instruction, hits, mode=by, where=conditions, probes=probes or 0, exact=exact
    )
    for query, found in zip(queries, rows, strict=True):
        texts = {document.id: document.content for document in opened.documents([hit.document_id for hit in found])}
        click.echo(query)
        for hit in found:
            click.echo(f"  {hit.score:.3f}  {hit.document_id}  {' '.join(texts[hit.document_id].split())[:100]}")
