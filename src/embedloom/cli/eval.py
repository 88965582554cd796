"""`embedloom eval`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from embedloom.cli.comparing import Named, Opening, Results
    from embedloom.evals.result import SetResult
    from embedloom.evals.robustness import Invariance, Spread
    from embedloom.evals.suite import EvalSet
    from embedloom.records import Embedder, Score

INVARIANCE_TEXTS = 16
BATCH_GAP, PRECISION_GAP = 1e-4, 2e-2
"""1 - cosine that other texts in a batch, and another precision, may make."""
FOLDER = Path("evaluation")
"""Where the results of a suite go if nothing else is said."""


@click.command("eval")
@click.argument("names", nargs=-1, required=True, metavar="MODEL... [SET...]")
@click.option("--suite", help="Measure all MODELs on core, smoke, a TOML file of sets, or every set below a folder.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Where a named suite's sets lie.")
@click.option("--limit", type=click.IntRange(min=2), help="Queries, pairs or texts of a set, at most.")
@click.option(
    "--results", type=click.Path(file_okay=False, path_type=Path), help="Folder of results, to go on from, and report."
)
@click.option("--baseline", default="", help="The model that the others' differences are taken from.")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="That encode.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the scores to this JSONL file.")
@click.option("--split", default="test", show_default=True, help="Which part of a set.")
@click.option("--instruction", help="For all sets, instead of each set's own; '' for none.")
@click.option("--max-length", type=click.IntRange(min=8), help="Tokens of a text, instead of the model's limit.")
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True)
@click.option("--cache", type=click.Path(dir_okay=False, path_type=Path), help="Keep vectors in this file.")
@click.option("--paraphrases", is_flag=True, help="Measure under other words for the instruction too; tell the spread.")
@click.option("--invariance", is_flag=True, help="First prove that batch and precision leave a text its vector.")
def command(
    names: tuple[str, ...],
    suite: str | None,
    data: Path | None,
    limit: int | None,
    results: Path | None,
    baseline: str,
    processes: int,
    out: Path | None,
    split: str,
    instruction: str | None,
    max_length: int | None,
    dtype: str,
    cache: Path | None,
    paraphrases: bool,
    invariance: bool,
) -> None:
    """Measures models on evaluation sets and prints each figure with its 95 % interval.

    `eval MODEL SET...` measures one model; `eval MODEL... --suite SUITE` several, side by side, and writes a report.
    A MODEL is a name such as registry:minilm, a folder, bm25, or openai-embeddings:URL#MODEL; LABEL=MODEL gives it
    another name in the report. A SET is a BEIR folder, a folder or file of STS, translation or labelled pairs, a
    classification, clustering or reranking set, a folder that holds such, or a task of the mteb library such as
    mteb:STSBenchmark.

    With a folder of results, the default for a suite, what was measured is not measured again and no text is encoded
    twice: an interrupted evaluation goes on where it stopped. For one model alone --cache does that.
    """
    from embedloom.cli.comparing import VECTORS, Opening, check_baseline, check_models, named, results_folder
    from embedloom.evals.measured import RESULTS, set_content
    from embedloom.run import write_records

    if suite is None and len(names) < 2:
        raise click.UsageError("Missing argument 'SET...'; or give a --suite.")
    if suite is None and data is not None:
        raise click.UsageError("--data is for a named --suite; a SET is named by its own path")
    if suite is None and results is None and baseline:
        raise click.UsageError("--baseline is for a report of several models: give a --suite, or a folder of --results")
    models = [named(name) for name in (names if suite is not None else names[:1])]
    sets = _suite(suite, data, split, limit) if suite is not None else _sets(names[1:], split, limit)
    check_models(models, paraphrases=paraphrases, invariance=invariance)
    folder = results or (FOLDER if suite is not None else None)
    labels = [model.label for model in models]
    if folder is not None and not (folder / RESULTS).exists():
        check_baseline(baseline, labels)  # before anything is written
    # A fingerprint says nothing of the precision: what was made in one that was asked for stays apart.
    apart = "" if dtype == "auto" else f"-{dtype}"
    if folder is not None and cache is None:
        cache = folder / VECTORS.format(apart)
    contents = [set_content(found) + apart for found in sets] if folder is not None else []
    how = Opening(dtype, max_length, processes)
    scores: list[Score] = []
    with nullcontext() if folder is None else results_folder(folder) as kept:
        if kept is not None:
            check_baseline(baseline, [*labels, *kept.models])
        for model in models:
            for found in _measure(model, sets, contents, how, instruction, cache, kept, paraphrases, invariance):
                scores += found
                if out is not None:
                    write_records(out, scores)
        if folder is not None:
            _publish(folder, models, sets, contents, baseline)


def _measure(
    model: Named,
    sets: Sequence[EvalSet],
    contents: Sequence[str],
    how: Opening,
    instruction: str | None,
    cache: Path | None,
    kept: Results | None,
    paraphrases: bool,
    invariance: bool,
) -> Iterator[list[Score]]:
    """The scores of a model set by set, printed and kept as they come."""
    from embedloom.cli.comparing import cached, measured_sets, opened, show
    from embedloom.cli.measure import evaluate_model
    from embedloom.evals.speed import TimedEmbedder

    with opened(model, how) as embedder:
        if embedder is not None and invariance:
            told = _invariance(embedder, model, sets, how)
            if kept is not None:
                kept.add_invariances(told)
        timed = None if embedder is None else TimedEmbedder(embedder)
        if kept is not None:
            kept.add_model(model, embedder)
        with cached(timed, cache, needed=paraphrases, processes=how.processes) as ready:
            if kept is not None:
                results = measured_sets(model, ready, timed, sets, contents, instruction, kept, how.processes)
            else:
                instructions = {} if instruction is None else {found.task: instruction for found in sets}
                results = evaluate_model(model.label, ready, sets, instructions)
            if ready is not None and paraphrases:
                results = _reworded(model, ready, sets, results, kept)
            for result in results:
                found = result.scores(model=model.label, fingerprint="" if ready is None else ready.fingerprint)
                show(found)
                yield found


def _suite(name: str, data: Path | None, split: str, limit: int | None) -> list[EvalSet]:
    from embedloom.evals.suites import open_suite

    return open_suite(name, data=data, split=split, limit=limit)


def _sets(names: Sequence[str], split: str, limit: int | None) -> list[EvalSet]:
    from embedloom.data.sources import data_path
    from embedloom.evals.mteb_tasks import SCHEME, mteb_sets
    from embedloom.evals.suite import discover
    from embedloom.evals.suites import limited_to

    found = (
        mteb_sets(name.removeprefix(SCHEME), split=split)
        if name.startswith(SCHEME)
        else discover(data_path(name), split=split)
        for name in names
    )
    return [limited_to(one, limit) for of_name in found for one in of_name]


def _reworded(
    model: Named, embedder: Embedder, sets: Sequence[EvalSet], own: Iterator[SetResult], kept: Results | None
) -> Iterator[SetResult]:
    """The results under every wording of every set, the given ones first, and a line with the spread of each set."""
    from embedloom.cli.measure import evaluate_model
    from embedloom.evals.paraphrases import paraphrases_of, sensitivity
    from embedloom.evals.robustness import spread

    of_task = {(found.task, found.family, found.split): found for found in sets}
    firsts = []
    for first in own:
        firsts.append(first)
        yield first
    for first in firsts:
        results = [first]
        found = of_task[first.task, first.family, first.split]
        for words in paraphrases_of(found.task, found.family):
            results.append(next(evaluate_model(model.label, embedder, [found], {found.task: words})))
            yield results[-1]
        told = spread(model.label, sensitivity(results))
        if kept is not None:
            kept.add_spread(told)
        _show_spread(told)


def _show_spread(told: Spread) -> None:
    click.echo(
        f"{told.task:<28} {told.metric:<12} {told.worst:.4f} to {told.best:.4f} under {told.instructions} instructions"
        f"; best - worst {told.best - told.worst:.4f}  [{told.low:.4f}, {told.high:.4f}]\n"
        f"  best:  {told.best_instruction}\n  worst: {told.worst_instruction}"
    )


def _invariance(embedder: Embedder, model: Named, sets: Sequence[EvalSet], how: Opening) -> list[Invariance]:
    """How much batch and precision move a vector, printed.

    Raises:
        ModelError: more than rounding explains.
    """
    from embedloom.cli.opening import open_embedder
    from embedloom.errors import ModelError
    from embedloom.evals.instructions import instruction_for
    from embedloom.evals.invariance import batch_gap, gap, sampled_texts
    from embedloom.evals.robustness import Invariance

    texts = sampled_texts(sets, INVARIANCE_TEXTS)
    instruction = instruction_for(sets[0].task, sets[0].family)
    gaps = [("batch and order", batch_gap(embedder, texts, instruction), BATCH_GAP)]
    backbone = getattr(embedder, "backbone", None)
    if backbone is not None:
        now = str(next(backbone.parameters()).dtype).removeprefix("torch.")
        other = "bfloat16" if now == "float32" else "float32"
        if now != "float32":
            gaps[0] = (*gaps[0][:2], PRECISION_GAP)
        peer = open_embedder(model.model, dtype=other, max_length=how.max_length)
        change = gap(embedder.encode_documents(texts), peer.encode_documents(texts))
        gaps.append((f"{now} against {other}", change, PRECISION_GAP))
    for name, found, allowed in gaps:
        click.echo(f"{name}: largest 1 - cosine of {len(texts)} texts {found:.1e}, allowed {allowed:.0e}")
        if not found <= allowed:
            raise ModelError(f"{model.label}: {name} changes vectors by more than rounding does ({found:.1e})")
    return [Invariance(model.label, name, len(texts), found, allowed) for name, found, allowed in gaps]


def _publish(
    folder: Path, models: Sequence[Named], sets: Sequence[EvalSet], contents: Sequence[str], baseline: str
) -> None:
    """Writes the report of all models that the folder has on these sets, those of this command first."""
    from embedloom.cli.leaderboard import print_table
    from embedloom.cli.publishing import PAGE, publish
    from embedloom.evals.measured import read_measured

    asked = {
        (found.task, found.split, content): place
        for place, (found, content) in enumerate(zip(sets, contents, strict=True))
    }
    order = {model.label: place for place, model in enumerate(models)}
    lines = [line for line in read_measured([folder]) if (line.task, line.split, line.content) in asked]
    lines.sort(key=lambda line: (order.get(line.model, len(order)), asked[line.task, line.split, line.content]))
    print_table(publish(lines, [folder], folder, baseline=baseline, title="Leaderboard"), "Leaderboard")
    click.echo(f"report: {folder / PAGE}")
