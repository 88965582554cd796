"""`embedloom index`."""

from __future__ import annotations

from pathlib import Path

import click

OF_A_NEW_INDEX = ("overwrite", "instruction", "kind", "precision", "dimensions", "words", "column", "vectors")
"""Options that say how an index is made, and not how it is changed."""


@click.command("index")
@click.argument("model")
@click.argument("corpus", required=False)
@click.option(
    "--out", required=True, metavar="INDEX", help="A folder, a URI, or postgresql://HOST/DATABASE?index=NAME."
)
@click.option("--instruction", default="", help="The instruction that queries get when a search gives none.")
@click.option("--overwrite", is_flag=True, help="Replace an index that stands there.")
@click.option("--update", is_flag=True, help="Add CORPUS to the index, in place of documents with the same ids.")
@click.option("--delete", type=click.Path(path_type=Path), metavar="FILE", help="Remove the ids in FILE, one a line.")
@click.option("--compact", is_flag=True, help="Take up what was added into the approximate index.")
@click.option("--kind", type=click.Choice(["exact", "ivf-pq", "hnsw"]), default="exact", show_default=True)
@click.option(
    "--precision", type=click.Choice(["float32", "float16", "int8", "binary"]), default="float32", show_default=True,
    help="Of the vectors that are read first; the best are ranked by the full ones.",
)  # fmt: skip
@click.option("--dimensions", type=click.IntRange(min=8), help="Of the vectors that are read first (Matryoshka).")
@click.option("--words", default="", metavar="LANGUAGE", help="Full-text search, too: english, ..., or simple.")
@click.option("--column", multiple=True, metavar="NAME:TYPE", help="A key of CORPUS to search by; may be repeated.")
@click.option("--vectors", type=click.Path(path_type=Path), help="What embedloom encode made of CORPUS's documents.")
def command(
    model: str,
    corpus: str | None,
    out: str,
    instruction: str,
    overwrite: bool,
    update: bool,
    delete: Path | None,
    compact: bool,
    kind: str,
    precision: str,
    dimensions: int | None,
    words: str,
    column: tuple[str, ...],
    vectors: Path | None,
) -> None:
    """Encodes CORPUS with MODEL into a vector index that only this model may search.

    CORPUS is a BEIR folder, a corpus.jsonl, or a folder of txt, md, rst and JSONL files. Types of columns are text,
    integer, number and boolean; their values are keys of the rows of a corpus.jsonl.
    """
    from embedloom.cli.indexing import change, read_matching, read_tagged
    from embedloom.cli.opening import open_embedder
    from embedloom.cli.progress import bar, notice
    from embedloom.search.index import create_index
    from embedloom.search.kinds import IndexKind
    from embedloom.search.tags import read_columns

    changes = [name for name, given in (("--update", update), ("--delete", delete), ("--compact", compact)) if given]
    if changes:
        _check_change(changes[0], update, corpus, click.get_current_context())
        change(out, model, corpus if update else None, delete, compact=compact)
        return
    if corpus is None:
        raise click.UsageError("Missing argument 'CORPUS'.")
    chosen = IndexKind(kind, precision, dimensions or 0, words, read_columns(column))
    documents = read_tagged(corpus, chosen.columns)
    embedder = open_embedder(model, notice=notice)
    made = None if vectors is None else read_matching(vectors, documents, embedder)
    with bar("index", len(documents), unit="documents") as advance:
        create_index(
            out, documents, embedder, instruction=instruction, kind=chosen, vectors=made, overwrite=overwrite,
            progress=advance,
        )  # fmt: skip
    click.echo(
        f"{len(documents)} documents in {out}; search it with: embedloom search {out} --model {model} 'your query'"
    )


def _check_change(asked: str, update: bool, corpus: str | None, context: click.Context) -> None:
    """Refuses what a change of an index would pass over in silence."""
    if update and corpus is None:
        raise click.UsageError("Missing argument 'CORPUS': --update adds its documents.")
    if corpus is not None and not update:
        raise click.UsageError(f"{asked} reads no CORPUS; add --update to take up its documents")
    for name in OF_A_NEW_INDEX:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name} is for a new index; {asked} changes the one that stands there")
