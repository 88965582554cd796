"""Several models over a suite of sets: what was measured is on disk at once, and is not measured again."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from embedloom.cli.measure import BM25_NAME, evaluate_model
from embedloom.cli.opening import open_embedder
from embedloom.cli.progress import notice
from embedloom.cli.publishing import INVARIANCES, MODELS, SPEED, SPREADS, add_notes
from embedloom.errors import DataError, ModelError
from embedloom.records import Embedder, Score
from embedloom.run import RecordLog, RunFolder

if TYPE_CHECKING:
    from embedloom.evals.measured import Measured
    from embedloom.evals.result import SetResult
    from embedloom.evals.robustness import Invariance, Spread
    from embedloom.evals.speed import TimedEmbedder
    from embedloom.evals.suite import EvalSet

VECTORS = "vectors{}.sqlite"
"""Cache of a folder of results; in the braces stands the precision, if one was asked for."""
_LABELLED = re.compile(r"([\w .+()-]+)=(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Named:
    """A model and what it is called: `LABEL=MODEL` on the command line, or the model's name itself."""

    label: str
    model: str


@dataclass(frozen=True, slots=True)
class Opening:
    """How models are opened."""

    dtype: str = "auto"
    max_length: int | None = None
    processes: int = 1


def named(text: str) -> Named:
    """A model of the command line; a path that holds "=" and is there stays a path."""
    found = _LABELLED.fullmatch(text)
    return Named(text, text) if found is None or Path(text).exists() else Named(found[1].strip(), found[2])


@contextmanager
def opened(model: Named, how: Opening) -> Iterator[Embedder | None]:
    """The model, in several processes if asked for; None for BM25."""
    if model.model == BM25_NAME:
        yield None
        return
    from embedloom.evals.endpoint import EndpointEmbedder
    from embedloom.evals.sharded import ShardedEmbedder

    one = partial(open_embedder, model.model, dtype=how.dtype, max_length=how.max_length)
    if how.processes == 1:
        alone = one(notice=notice)
        try:
            yield alone
        finally:
            if isinstance(alone, EndpointEmbedder):
                alone.close()
        return
    with ShardedEmbedder(one, how.processes) as embedder:
        yield embedder


@contextmanager
def cached(embedder: Embedder | None, cache: Path | None, *, needed: bool, processes: int) -> Iterator[Embedder | None]:
    """The embedder with its cache; where one is needed and none was asked for, with one for this evaluation."""
    from tempfile import TemporaryDirectory

    from embedloom.model.vector_cache import WRITE_EVERY, CachedEmbedder

    if embedder is None or (cache is None and not needed):
        yield embedder
        return
    with ExitStack() as stack:
        if cache is None:
            cache = Path(stack.enter_context(TemporaryDirectory())) / VECTORS.format("")
        # Each process gets as many texts between two commits as one alone would.
        yield CachedEmbedder(embedder, cache, write_every=WRITE_EVERY * processes)


class Results:
    """A folder of results that a process holds: what it has is told, what is new is appended at once."""

    def __init__(self, folder: Path, log: RecordLog, speeds: RecordLog, known: dict[tuple[str, str], Measured]) -> None:
        self.folder = folder
        self._log, self._speeds, self._known = log, speeds, known

    @property
    def models(self) -> set[str]:
        """Names of the models that it has results of."""
        return {model for model, _ in self._known}

    def known(self, model: str, identity: str) -> SetResult | None:
        """The result with this id under this name, if it is there."""
        from embedloom.evals.measured import result_of

        line = self._known.get((model, identity))
        return None if line is None else result_of(line)

    def add(self, line: Measured) -> None:
        """Appends a result; when it returns it is on disk."""
        self._known[line.model, line.id] = line
        self._log.append([line])

    def add_model(self, model: Named, embedder: Embedder | None) -> None:
        """Notes where a model of the results came from."""
        from embedloom.evals.comparison_page import ModelNote
        from embedloom.model.registry import licence_of

        note = ModelNote(model.label, model.model, licence=licence_of(model.model))
        if embedder is not None:
            note = replace(note, fingerprint=embedder.fingerprint, dimension=embedder.dimension)
        add_notes(self.folder / MODELS, [note], lambda one: one.label)

    def add_spread(self, told: Spread) -> None:
        """Keeps how far a figure moves with the instruction's words."""
        add_notes(self.folder / SPREADS, [told], lambda one: (one.model, one.task))

    def add_invariances(self, told: Sequence[Invariance]) -> None:
        """Keeps what batch and precision did to a model's vectors."""
        add_notes(self.folder / INVARIANCES, told, lambda one: (one.model, one.what))

    def add_speed(self, model: str, timed: TimedEmbedder, processes: int) -> None:
        """Appends what the model encoded since it was last asked."""
        from embedloom.evals.speed import Speed

        if timed.texts:
            self._speeds.append(
                [
                    Speed(
                        model,
                        timed.fingerprint,
                        timed.texts,
                        timed.characters,
                        round(timed.seconds, 3),
                        processes,
                        machine(),
                    )
                ]
            )
        timed.texts = timed.characters = 0
        timed.seconds = 0.0


@contextmanager
def results_folder(folder: Path) -> Iterator[Results]:
    """A folder of results, held by this process.

    Raises:
        RunError: another process holds it.
        DataError: what lies there is no file of results.
    """
    from embedloom.evals.measured import RESULTS, Measured
    from embedloom.run import read_records

    with RunFolder(folder).locked(), RecordLog(folder / RESULTS) as log, RecordLog(folder / SPEED) as speeds:
        known = {(line.model, line.id): line for line in read_records(folder / RESULTS, Measured)}
        yield Results(folder, log, speeds, known)


def measured_sets(
    model: Named,
    embedder: Embedder | None,
    timed: TimedEmbedder | None,
    sets: Sequence[EvalSet],
    contents: Sequence[str],
    instruction: str | None,
    results: Results,
    processes: int,
) -> Iterator[SetResult]:
    """The results of a model on the sets that it can be measured on: known ones, and new ones that are kept at once."""
    from embedloom.evals.instructions import instruction_for
    from embedloom.evals.measured import measured, measured_id

    fingerprint = "" if embedder is None else embedder.fingerprint
    missing = []
    for found, content in zip(sets, contents, strict=True):
        if embedder is None and found.family != "retrieval":
            continue
        sentence = "" if embedder is None else instruction_for(found.task, found.family, instruction)
        identity = measured_id(fingerprint or model.label, found.task, found.split, content, sentence)
        before = results.known(model.label, identity)
        if before is None:
            missing.append((found, content))
        else:
            yield before
    told = {} if instruction is None else {found.task: instruction for found, _ in missing}
    new = evaluate_model(model.label, embedder, [found for found, _ in missing], told)
    for result, (_, content) in zip(new, missing, strict=True):
        results.add(measured(result, model=model.label, fingerprint=fingerprint, content=content))
        if timed is not None:
            results.add_speed(model.label, timed, processes)
        yield result


def show(scores: Sequence[Score]) -> None:
    """Prints figures, one a line."""
    for score in scores:
        low, high = score.interval
        limit = f"  ({score.limit})" if score.limit else ""
        click.echo(
            f"{score.task:<28} {score.metric:<12} {score.value:.4f}  [{low:.4f}, {high:.4f}]  n={score.count}{limit}"
        )


def machine() -> str:
    """Processor or GPU that encodes, in a few words."""
    import torch

    from embedloom.workers import cores

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, {cores()} core{'' if cores() == 1 else 's'}"


def check_baseline(baseline: str, models: Iterable[str]) -> None:
    """Refuses a baseline that is none of the models.

    Raises:
        DataError: that.
    """
    known = sorted(set(models))
    if baseline and baseline not in known:
        raise DataError(f"the baseline {baseline!r} is none of the models: {', '.join(known)}")


def check_models(models: Sequence[Named], *, paraphrases: bool, invariance: bool) -> None:
    """Refuses, before an hour of measuring, what the last model would end with.

    Raises:
        ModelError: BM25 is asked for its instructions or vectors, two models have one label, or one isn't there.
    """
    from embedloom.evals.endpoint import SCHEME
    from embedloom.model.names import model_folder

    labels = [model.label for model in models]
    for label in labels:
        if labels.count(label) > 1:
            raise ModelError(f"two models are called {label!r}; name them as LABEL=MODEL")
    if (paraphrases or invariance) and any(model.model == BM25_NAME for model in models):
        raise ModelError("bm25 has no instruction and no vectors; leave out --paraphrases and --invariance")
    for model in models:
        if model.model != BM25_NAME and not model.model.startswith(SCHEME):
            model_folder(model.model, notice)
