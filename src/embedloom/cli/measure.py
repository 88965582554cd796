"""The stages behind the training: measurement beside base model and baselines, index, searches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom.cli.corpus import KNOWN_ITEM, TEXTS, source_content
from embedloom.cli.opening import open_embedder
from embedloom.cli.pipeline import Run
from embedloom.cli.progress import bar, notice
from embedloom.cli.tuning import MODEL
from embedloom.data.sources import data_path
from embedloom.records import Document, Hit, Score, content_id
from embedloom.run import read_objects, read_records, write_records

if TYPE_CHECKING:
    from embedloom.evals.result import SetResult
    from embedloom.evals.suite import EvalSet
    from embedloom.records import Embedder

VECTORS = "vectors.sqlite"
INDEX = "index"
LEADERBOARD = "leaderboard.jsonl"
SEARCHES = "searches.jsonl"
BM25_NAME = "bm25"
TUNED = "tuned"


@dataclass(frozen=True, slots=True)
class Found:
    """One search of the index and what it brought."""

    query: str
    instruction: str
    hits: tuple[Hit, ...]
    texts: tuple[str, ...]


def measure(run: Run) -> None:
    """Scores of the tuned model and the baselines on every set, and the paired differences."""
    settings = run.recipe.eval
    sets = evaluation_sets_of(run)
    if not sets:
        return
    own = own_instructions(run)

    def work() -> dict[str, Any]:
        from embedloom.evals.leaderboard import leaderboard

        results: dict[str, list[SetResult]] = {}
        scores: list[Score] = []
        for name in [*settings.baselines, TUNED]:
            embedder = _model(run, name)
            results[name] = list(evaluate_model(name, embedder, sets, own))
            identity = "" if embedder is None else embedder.fingerprint
            scores += [score for r in results[name] for score in r.scores(model=name, fingerprint=identity)]
        write_records(run.folder / LEADERBOARD, leaderboard(results))
        return {"scores": write_records(run.folder / "scores.jsonl", scores)}

    told = {**settings.model_dump(), "base": run.recipe.train.base, "sets": [(s.task, str(s.split)) for s in sets]}
    told["own"] = own
    told["contents"] = [source_content(name) for name in settings.sets]
    inputs = [MODEL, *([f"{KNOWN_ITEM}/queries.jsonl", f"{KNOWN_ITEM}/corpus.jsonl"] if _has_known_item(run) else [])]
    run.stage("eval", settings=told, inputs=inputs, files=["scores.jsonl", LEADERBOARD], work=work)


def evaluate_model(
    name: str, embedder: Embedder | None, sets: Sequence[EvalSet], instructions: Mapping[str, str] | None = None
) -> Iterator[SetResult]:
    """One model, or BM25 where there is no embedder, on sets, with a bar.

    `instructions` replaces the table's instruction for the sets that it names; BM25 has none.
    """
    from embedloom.evals.suite import evaluate, evaluate_search

    if embedder is None:
        from embedloom.data.lexical import BM25

        total = sum(len(found.rows.queries) for found in sets if found.family == "retrieval")
        searched = [found for found in sets if found.family == "retrieval"]
        with bar(f"eval {name}", total, unit="queries") as advance:
            for number, found in enumerate(searched, 1):
                advance.note = f"{number} of {len(searched)}: {found.task}"
                yield from evaluate_search(BM25, [found], progress=advance)
        return
    with bar(f"eval {name}", sum(found.text_count for found in sets), unit="texts") as advance:
        for number, found in enumerate(sets, 1):
            advance.note = f"{number} of {len(sets)}: {found.task}"
            yield from evaluate(embedder, [found], instruction=(instructions or {}).get(found.task), progress=advance)


def build_index(run: Run) -> None:
    """The index of the recipe's corpus with the tuned model; vectors that the evaluation made are not made again."""
    documents = _documents(run)
    if not documents:
        return
    instruction = _search_instruction(run)

    def work() -> dict[str, Any]:
        from embedloom.search.index import create_index

        with bar("index", len(documents), unit="documents") as advance:
            place, model = run.folder / INDEX, _tuned(run)
            create_index(place, documents, model, instruction=instruction, overwrite=True, progress=advance)
        return {"documents": len(documents)}

    inputs = [MODEL, _documents_file(run)]
    run.stage("index", settings={"instruction": instruction}, inputs=inputs, files=[INDEX], work=work)


def search(run: Run) -> None:
    """The recipe's searches, or three of the known-item queries, with the texts of their hits."""
    queries = run.recipe.search.queries or _known_item_queries(run, 3)
    if not queries or not (run.folder / INDEX).exists():
        return
    instruction = _search_instruction(run)

    def work() -> dict[str, Any]:
        from embedloom.search.index import open_index

        index = open_index(run.folder / INDEX)
        rows = []
        found = index.search(queries, _tuned(run), instruction, run.recipe.search.hits)
        for query, hits in zip(queries, found, strict=True):
            texts = {document.id: document.content for document in index.documents([hit.document_id for hit in hits])}
            rows.append(Found(query, instruction, tuple(hits), tuple(texts[hit.document_id] for hit in hits)))
        return {"searches": write_records(run.folder / SEARCHES, rows)}

    told = {"queries": queries, "instruction": instruction, "hits": run.recipe.search.hits}
    run.stage("search", settings=told, inputs=[INDEX], files=[SEARCHES], work=work)


def _model(run: Run, name: str) -> Embedder | None:
    if name == BM25_NAME:
        return None
    if name == TUNED:
        return _tuned(run)
    model = run.recipe.train.base if name == "base" else name
    return _cached(run, open_embedder(model, max_length=run.recipe.eval.max_length, notice=notice))


def _tuned(run: Run) -> Embedder:
    return _cached(run, open_embedder(str(run.folder / MODEL)))


def _cached(run: Run, embedder: Embedder) -> Embedder:
    from embedloom.model.vector_cache import CachedEmbedder

    return CachedEmbedder(embedder, run.folder / VECTORS)


def evaluation_sets_of(run: Run) -> list[EvalSet]:
    """The known-item set of the run's own texts, if it has one, and the recipe's sets."""
    from embedloom.evals.suite import discover

    paths: list[Path] = [run.folder / KNOWN_ITEM] if _has_known_item(run) else []
    paths += [data_path(name) for name in run.recipe.eval.sets]
    return [found for path in paths for found in discover(path)]


def own_instructions(run: Run) -> dict[str, str]:
    """The recipe's instruction for the known-item set, where there is one."""
    return {KNOWN_ITEM: _search_instruction(run)} if _has_known_item(run) else {}


def _has_known_item(run: Run) -> bool:
    return (run.folder / KNOWN_ITEM / "corpus.jsonl").exists()


def _documents_file(run: Run) -> str:
    """What is searched: all of the user's own texts, Python's documentation, or the passages."""
    if (run.folder / TEXTS).exists():
        return TEXTS
    return f"{KNOWN_ITEM}/corpus.jsonl" if _has_known_item(run) else "passages.jsonl"


def _documents(run: Run) -> list[Document]:
    name = _documents_file(run)
    path = run.folder / name
    if name.startswith(KNOWN_ITEM):
        from embedloom.data.beir import read_corpus_file

        return list(read_corpus_file(path))
    return list(read_records(path, Document)) if path.exists() else []


def _search_instruction(run: Run) -> str:
    from embedloom.evals.instructions import instruction_for

    if run.recipe.search.instruction:
        return run.recipe.search.instruction
    return instruction_for(KNOWN_ITEM, "retrieval") if _has_known_item(run) else instruction_for("", "retrieval")


def _known_item_queries(run: Run, count: int) -> list[str]:
    if not _has_known_item(run):
        return []
    queries = [
        (str(obj["_id"]), str(obj["text"])) for _, obj in read_objects(run.folder / KNOWN_ITEM / "queries.jsonl")
    ]
    queries.sort(key=lambda query: content_id("shown", run.recipe.seed, query[0]))
    return [text for _, text in queries[:count]]
