"""`embedloom index`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("index")
@click.argument("model")
@click.argument("corpus")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the index.")
@click.option("--instruction", default="", help="The instruction that queries get when a search gives none.")
@click.option("--overwrite", is_flag=True, help="Replace an index that stands there.")
def command(model: str, corpus: str, out: Path, instruction: str, overwrite: bool) -> None:
    """Encodes CORPUS with MODEL into a vector index that only this model may search.

    CORPUS is a BEIR folder, a corpus.jsonl, or a folder of txt, md, rst and JSONL files.
    """
    from embedloom.cli.corpus import read_documents
    from embedloom.cli.opening import open_embedder
    from embedloom.cli.progress import bar, notice
    from embedloom.search.index import create_index

    documents = read_documents(corpus)
    embedder = open_embedder(model, notice=notice)
    with bar("index", len(documents), unit="documents") as advance:
        create_index(out, documents, embedder, instruction=instruction, overwrite=overwrite, progress=advance)
    click.echo(
        f"{len(documents)} documents in {out}; search it with: embedloom search {out} --model {model} 'your query'"
    )
