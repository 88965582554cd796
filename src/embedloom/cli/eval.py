"""`embedloom eval`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from embedloom.evals.result import SetResult
    from embedloom.evals.suite import EvalSet
    from embedloom.records import Embedder

INVARIANCE_TEXTS = 16
BATCH_GAP, PRECISION_GAP = 1e-4, 2e-2
"""1 - cosine that other texts in a batch, and another precision, may make."""


@click.command("eval")
@click.argument("model")
@click.argument("paths", nargs=-1, required=True, metavar="SET...")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the scores to this JSONL file.")
@click.option("--split", default="test", show_default=True, help="Which part of a set.")
@click.option("--instruction", help="For all sets, instead of each set's own; '' for none.")
@click.option("--max-length", type=click.IntRange(min=8), help="Tokens of a text, instead of the model's limit.")
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True)
@click.option("--cache", type=click.Path(dir_okay=False, path_type=Path), help="Keep vectors in this file.")
@click.option("--paraphrases", is_flag=True, help="Measure under other words for the instruction too; tell the spread.")
@click.option("--invariance", is_flag=True, help="First prove that batch and precision leave a text its vector.")
def command(
    model: str,
    paths: tuple[str, ...],
    out: Path | None,
    split: str,
    instruction: str | None,
    max_length: int | None,
    dtype: str,
    cache: Path | None,
    paraphrases: bool,
    invariance: bool,
) -> None:
    """Measures MODEL on evaluation sets and prints each figure with its 95 % interval.

    MODEL is a name such as registry:minilm, a folder, or bm25. A SET is a BEIR folder, a folder or file of STS,
    translation or labelled pairs, a classification, clustering or reranking set, a folder that holds such, or a task of
    the mteb library such as mteb:STSBenchmark, from the hub or its cache. An interrupted evaluation goes on where it
    stopped if --cache is given.
    """
    from embedloom.cli.measure import BM25_NAME, evaluate_model
    from embedloom.cli.opening import open_embedder
    from embedloom.cli.progress import notice
    from embedloom.errors import ModelError
    from embedloom.run import write_records

    sets = [found for path in paths for found in _sets(path, split)]
    embedder = None
    if model != BM25_NAME:
        embedder = open_embedder(model, dtype=dtype, max_length=max_length, notice=notice)
    elif paraphrases or invariance:
        raise ModelError("bm25 has no instruction and no vectors; leave out --paraphrases and --invariance")
    if embedder is not None and invariance:
        _show_invariance(embedder, model, sets, dtype, max_length)
    scores = []
    with _cached(embedder, cache, needed=paraphrases) as embedder:
        if embedder is not None and paraphrases:
            results: Iterator[SetResult] = _reworded(model, embedder, sets, instruction)
        else:
            instructions = {} if instruction is None else {found.task: instruction for found in sets}
            results = evaluate_model(model, embedder, sets, instructions)
        for result in results:
            found = result.scores(model=model, fingerprint="" if embedder is None else embedder.fingerprint)
            for score in found:
                low, high = score.interval
                click.echo(
                    f"{score.task:<28} {score.metric:<12} {score.value:.4f}  [{low:.4f}, {high:.4f}]  n={score.count}"
                )
            scores += found
            if out is not None:
                write_records(out, scores)


def _sets(path: str, split: str) -> list[EvalSet]:
    from embedloom.data.sources import data_path
    from embedloom.evals.mteb_tasks import SCHEME, mteb_sets
    from embedloom.evals.suite import discover

    if path.startswith(SCHEME):
        return mteb_sets(path.removeprefix(SCHEME), split=split)
    return discover(data_path(path), split=split)


@contextmanager
def _cached(embedder: Embedder | None, cache: Path | None, *, needed: bool) -> Iterator[Embedder | None]:
    """The embedder with its cache; where one is needed and none was asked for, with one for this evaluation."""
    from tempfile import TemporaryDirectory

    from embedloom.model.vector_cache import CachedEmbedder

    if embedder is None or (cache is None and not needed):
        yield embedder
    elif cache is not None:
        yield CachedEmbedder(embedder, cache)
    else:
        with TemporaryDirectory() as folder:
            yield CachedEmbedder(embedder, Path(folder) / "vectors.sqlite")


def _reworded(model: str, embedder: Embedder, sets: Sequence[EvalSet], instruction: str | None) -> Iterator[SetResult]:
    """The results under every wording of every set, and a line with the spread of each set."""
    from embedloom.cli.measure import evaluate_model
    from embedloom.evals.paraphrases import reworded, sensitivity

    for found in sets:

        def measured(words: str, found: EvalSet = found) -> SetResult:
            return next(evaluate_model(model, embedder, [found], {found.task: words}))

        results = []
        for result in reworded(found.task, found.family, measured, own=instruction):
            results.append(result)
            yield result
        told = sensitivity(results)
        click.echo(
            f"{told.task:<28} {told.metric:<12} {told.worst.main.estimate.value:.4f} to "
            f"{told.best.main.estimate.value:.4f} under {told.instructions} instructions; best - worst "
            f"{told.difference.value:.4f}  [{told.difference.low:.4f}, {told.difference.high:.4f}]\n"
            f"  best:  {told.best.instruction}\n  worst: {told.worst.instruction}"
        )


def _show_invariance(
    embedder: Embedder, model: str, sets: Sequence[EvalSet], dtype: str, max_length: int | None
) -> None:
    """Prints how much batch and precision move a vector.

    Raises:
        ModelError: more than rounding explains.
    """
    from embedloom.cli.opening import open_embedder
    from embedloom.errors import ModelError
    from embedloom.evals.instructions import instruction_for
    from embedloom.evals.invariance import batch_gap, gap, sampled_texts

    texts = sampled_texts(sets, INVARIANCE_TEXTS)
    instruction = instruction_for(sets[0].task, sets[0].family)
    gaps = [("batch and order", batch_gap(embedder, texts, instruction), BATCH_GAP)]
    backbone = getattr(embedder, "backbone", None)
    if backbone is not None:
        now = str(next(backbone.parameters()).dtype).removeprefix("torch.")
        other = "bfloat16" if now == "float32" else "float32"
        if now != "float32":
            gaps[0] = (*gaps[0][:2], PRECISION_GAP)
        peer = open_embedder(model, dtype=other, max_length=max_length)
        change = gap(embedder.encode_documents(texts), peer.encode_documents(texts))
        gaps.append((f"{now} against {other}", change, PRECISION_GAP))
    for name, found, allowed in gaps:
        click.echo(f"{name}: largest 1 - cosine of {len(texts)} texts {found:.1e}, allowed {allowed:.0e}")
        if not found <= allowed:
            raise ModelError(f"{model}: {name} changes vectors by more than rounding does ({found:.1e})")
