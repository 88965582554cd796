"""The stages that look at replies: parsing and curation. Neither holds the rows of a set in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom.cli.corpus import KNOWN_ITEM, source_content
from embedloom.cli.pipeline import Run
from embedloom.cli.progress import bar, notice
from embedloom.data.sources import data_path
from embedloom.records import Document, Example, Generation, Prompt, Reject, dumps
from embedloom.run import atomic_file, read_records

if TYPE_CHECKING:
    from embedloom.records import Retriever

EXAMPLES = "examples.jsonl"
CURATED = "curated.jsonl"
OWN_SETS = "eval"
"""In `curate.decontaminate`, the evaluation and development sets of the recipe itself."""
MOST_PROCESSES = 8


def parse(run: Run) -> None:
    """Replies become examples, or rejects with a rule."""

    def work() -> dict[str, Any]:
        from embedloom.data.lines import RecordIndex
        from embedloom.synth.parse import parse

        with RecordIndex(run.folder / "generations.jsonl", Generation, "prompt_id") as replies:
            return _write(run, parse(read_records(run.folder / "prompts.jsonl", Prompt), replies), "parse", EXAMPLES)

    inputs = ["prompts.jsonl", "generations.jsonl"]
    run.stage("parse", settings={}, inputs=inputs, files=[EXAMPLES, "rejects/parse.jsonl"], work=work)


def curate(run: Run) -> None:
    """Rules, language, evaluation sets, duplicates, round trip."""
    settings = run.recipe.curate
    against = evaluation_sets(run)
    language = checks_language(settings.language)

    def work() -> dict[str, Any]:
        from embedloom.curate.checks import Checks
        from embedloom.curate.curate import curate_file

        path = run.folder / EXAMPLES
        count, grounded = _rows(path)
        if settings.language == "auto" and not language:
            notice("curate     languages are not checked; pip install 'embedloom[languages]' for that")
        with tempfile.TemporaryDirectory(prefix="embedloom-evaluation-") as scratch:
            checks = Checks(language, settings.personal_data, _indexed(against, Path(scratch)) if against else None)
            retriever = _retriever(run) if grounded else None
            with bar("curate", count, unit="rows") as advance:
                verdicts = curate_file(
                    path,
                    checks=checks,
                    near_duplicate=settings.near_duplicate,
                    retriever=retriever,
                    k=settings.round_trip_depth,
                    processes=settings.processes or min(os.cpu_count() or 1, MOST_PROCESSES),
                    progress=advance,
                )
                return _write(run, verdicts, "curate", CURATED)

    told = settings.model_dump(exclude={"processes"}) | {"language": language}
    told |= {"evaluation": contents(run, against)}
    inputs = [EXAMPLES, "passages.jsonl"]
    run.stage("curate", settings=told, inputs=inputs, files=[CURATED, "rejects/curate.jsonl"], work=work)


def _write(run: Run, results: Iterable[Example | str | Reject], stage: str, name: str) -> dict[str, Any]:
    """Writes what stays and what goes to their files, a row at a time."""
    kept = gone = 0
    with atomic_file(run.folder / name) as good, atomic_file(run.folder / f"rejects/{stage}.jsonl") as bad:
        for result in results:
            if isinstance(result, Reject):
                bad.write(dumps(result) + "\n")
                gone += 1
            else:
                good.write((result if isinstance(result, str) else dumps(result)) + "\n")
                kept += 1
    return {"kept": kept, "rejects": gone}


def _rows(path: Path) -> tuple[int, bool]:
    """How many rows there are, and whether any has a passage to find again."""
    from embedloom.data.lines import read_lines

    count, grounded = 0, False
    for _, line in read_lines(path):
        count += 1
        grounded = grounded or '"passage_id"' in line
    return count, grounded


def checks_language(setting: str) -> bool:
    """Whether texts are held to their language: by the recipe's setting, and by what is installed."""
    from embedloom.curate.language import detector_installed

    return setting == "on" or (setting == "auto" and detector_installed())


def evaluation_sets(run: Run) -> list[Path]:
    """Files and folders of the sets that no row may repeat."""
    paths: list[Path] = []
    for name in run.recipe.curate.decontaminate:
        if name == OWN_SETS:
            paths += [data_path(one) for one in (*run.recipe.eval.sets, *run.recipe.train.dev)]
            if (run.folder / KNOWN_ITEM / "queries.jsonl").exists():
                paths.append(run.folder / KNOWN_ITEM)
        else:
            paths.append(data_path(name))
    return paths


def contents(run: Run, sets: list[Path]) -> list[tuple[str, str]]:
    """Name and content of each set; that of the run itself is told by what its files hold, wherever the run lies."""
    own = run.folder / KNOWN_ITEM
    return [
        (KNOWN_ITEM, run.folder.content(KNOWN_ITEM)) if path == own else (str(path), source_content(str(path)))
        for path in sets
    ]


def _indexed(paths: list[Path], folder: Path) -> Path:
    from embedloom.curate.decontaminate import contamination
    from embedloom.data.evaluation_texts import evaluation_texts

    contamination(text for path in paths for text in evaluation_texts(path)).save(folder)
    return folder


def _retriever(run: Run) -> Retriever | None:
    name = run.recipe.curate.round_trip
    path = run.folder / "passages.jsonl"
    if name == "none" or not path.exists():
        return None
    passages = list(read_records(path, Document))
    if name == "bm25":
        from embedloom.data.lexical import BM25

        return BM25(passages)
    from embedloom.cli.opening import open_embedder
    from embedloom.data.dense import DenseRetriever

    with bar("round trip corpus", len(passages), unit="passages") as advance:
        return DenseRetriever(open_embedder(name, notice=notice), passages, progress=advance)
