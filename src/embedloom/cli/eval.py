"""`embedloom eval`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("eval")
@click.argument("model")
@click.argument("paths", nargs=-1, required=True, metavar="SET...")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the scores to this JSONL file.")
@click.option("--split", default="test", show_default=True, help="Which part of a set.")
@click.option("--instruction", help="For all sets, instead of each set's own; '' for none.")
@click.option("--max-length", type=click.IntRange(min=8), help="Tokens of a text, instead of the model's limit.")
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True)
@click.option("--cache", type=click.Path(dir_okay=False, path_type=Path), help="Keep vectors in this file.")
def command(
    model: str,
    paths: tuple[str, ...],
    out: Path | None,
    split: str,
    instruction: str | None,
    max_length: int | None,
    dtype: str,
    cache: Path | None,
) -> None:
    """Measures MODEL on evaluation sets and prints each figure with its 95 % interval.

    MODEL is a name such as registry:minilm, a folder, or bm25. A SET is a BEIR folder, a folder or file of STS or
    translation pairs, a classification, clustering or reranking set, or a folder that holds such. An interrupted
    evaluation goes on where it stopped if --cache is given.
    """
    from embedloom.cli.measure import BM25_NAME, evaluate_model
    from embedloom.cli.opening import open_embedder
    from embedloom.cli.progress import notice
    from embedloom.data.sources import data_path
    from embedloom.evals.suite import discover
    from embedloom.model.vector_cache import CachedEmbedder
    from embedloom.run import write_records

    sets = [found for path in paths for found in discover(data_path(path), split=split)]
    embedder = None
    if model != BM25_NAME:
        embedder = open_embedder(model, dtype=dtype, max_length=max_length, notice=notice)
        if cache is not None:
            embedder = CachedEmbedder(embedder, cache)
    scores = []
    instructions = {} if instruction is None else {found.task: instruction for found in sets}
    for result in evaluate_model(model, embedder, sets, instructions):
        found = result.scores(model=model, fingerprint="" if embedder is None else embedder.fingerprint)
        for score in found:
            low, high = score.interval
            click.echo(
                f"{score.task:<28} {score.metric:<12} {score.value:.4f}  [{low:.4f}, {high:.4f}]  n={score.count}"
            )
        scores += found
        if out is not None:
            write_records(out, scores)
