"""From paths to results: which sets lie at a path, and one model over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from embedloom.data.beir import is_beir, queries_are_documents, read_beir
from embedloom.data.candidates import read_candidates
from embedloom.data.labels import read_labels
from embedloom.data.pairs import read_labelled_pairs, read_scored_pairs, read_translation_pairs
from embedloom.errors import DataError
from embedloom.evals.bitext import evaluate_bitext
from embedloom.evals.classification import evaluate_classification
from embedloom.evals.clustering import evaluate_clustering
from embedloom.evals.pair_classification import evaluate_pair_classification
from embedloom.evals.reranking import evaluate_reranking
from embedloom.evals.result import SetResult
from embedloom.evals.retrieval import evaluate_retrieval, evaluate_retriever
from embedloom.evals.sts import evaluate_sts
from embedloom.records import Document, Embedder, Progress, Retriever
from embedloom.run import read_objects

DEPTH = 3
"""Folders below a given path that are searched for sets."""
ENDS = ("", ".gz")
EXPECTED = (
    "expected a BEIR folder (corpus.jsonl, queries.jsonl, qrels/), a folder with test.jsonl, a JSONL file with "
    "sentence1 and sentence2 (and score, or label), text and label, or query, positives and negatives, or a folder of "
    "such"
)


@dataclass(frozen=True)
class EvalSet:
    """A set that was read and checked: nothing can be wrong with its files once a model starts on it.

    Attributes:
        task: its name, from its folder or file.
        family: retrieval, sts, bitext, reranking, classification, clustering or pair-classification.
        split: which part of it was read.
        rows: a `RetrievalSet`; for classification the training and the test texts; else a tuple of rows.
        text_count: texts that an evaluation tells its progress of.
        settings: what the family's evaluator is told beside its defaults.
        limit: which part of the set this is; "" for all of it.
    """

    task: str
    family: str
    split: str
    rows: Any
    text_count: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    limit: str = ""


def discover(path: Path, *, split: str = "test") -> list[EvalSet]:
    """Reads the evaluation sets at a path: one set, or all that lie in a folder, by name.

    A folder is a retrieval set (BEIR), or has SPLIT.jsonl: pairs with scores (STS), with labels (pair classification)
    or without (bitext), queries with candidates (reranking), texts with labels (classification if there is
    train.jsonl too, else clustering). Other JSONL files of a folder count if they are bitext, as in Tatoeba's one file
    per language.

    Args:
        path: a file or a folder.
        split: which file, or which qrels, of a folder.

    Raises:
        DataError: there is no such path, no set in it, or a set is malformed; names file and line.
    """
    if not path.exists():
        raise DataError(f"no such file or folder; {EXPECTED}", path)
    if path.is_file():
        return [_file_set(path, _stem(path), split)]
    found = list(_folder_sets(path, split, DEPTH, set()))
    if not found:
        raise DataError(f"no evaluation set with the split {split!r} here; {EXPECTED}", path)
    return found


def evaluate(
    embedder: Embedder,
    sets: Iterable[EvalSet],
    *,
    instruction: str | None = None,
    progress: Progress | None = None,
) -> Iterator[SetResult]:
    """One model over sets of any family, a result as soon as each is done.

    Args:
        embedder: the model.
        sets: from `discover`.
        instruction: for all sets, instead of the table's; "" for none.
        progress: told of encoded texts; their number is the sum of `text_count`.

    Raises:
        ModelError: the model returned something other than unit vectors.
        MissingExtraError: a classification or clustering set without scikit-learn.
    """
    for found in sets:
        yield replace(_evaluate(embedder, found, instruction, progress), limit=found.limit)


def evaluate_search(
    make_retriever: Callable[[Sequence[Document]], Retriever],
    sets: Iterable[EvalSet],
    *,
    progress: Progress | None = None,
) -> Iterator[SetResult]:
    """A search without vectors, such as `BM25`, over the retrieval sets among `sets`; the others are passed over.

    Args:
        make_retriever: gives the search over a corpus.
        sets: from `discover`.
        progress: told of answered queries.
    """
    for found in sets:
        if found.family == "retrieval":
            retriever = make_retriever(found.rows.corpus)
            result = evaluate_retriever(retriever, found.rows, progress=progress, **found.settings)
            yield replace(result, limit=found.limit)


def _evaluate(embedder: Embedder, found: EvalSet, instruction: str | None, progress: Progress | None) -> SetResult:
    if found.family == "retrieval":
        return evaluate_retrieval(embedder, found.rows, instruction=instruction, progress=progress, **found.settings)
    told: dict[str, Any] = {
        "task": found.task,
        "split": found.split,
        "instruction": instruction,
        "progress": progress,
        **found.settings,
    }
    if found.family == "classification":
        return evaluate_classification(embedder, *found.rows, **told)
    if found.family == "sts":
        return evaluate_sts(embedder, found.rows, **told)
    if found.family == "pair-classification":
        return evaluate_pair_classification(embedder, found.rows, **told)
    if found.family == "bitext":
        return evaluate_bitext(embedder, found.rows, **told)
    if found.family == "reranking":
        return evaluate_reranking(embedder, found.rows, **told)
    return evaluate_clustering(embedder, found.rows, **told)


def _folder_sets(folder: Path, split: str, depth: int, seen: set[Path]) -> Iterator[EvalSet]:
    # A link may lead back up.
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    if is_beir(folder):
        rows = read_beir(folder, split)
        settings = {"skip_same_id": True} if queries_are_documents(rows) else {}
        yield EvalSet(rows.name, "retrieval", split, rows, len(rows.corpus) + len(rows.queries), settings)
        return
    main = next((path for end in ENDS if (path := folder / f"{split}.jsonl{end}").is_file()), None)
    if main is not None:
        yield _file_set(main, folder.resolve().name, split)
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir() and depth > 0:
            yield from _folder_sets(path, split, depth - 1, seen)
        elif path.is_file() and path.name.endswith((".jsonl", ".jsonl.gz")) and _family(path) == "bitext":
            yield _file_set(path, f"{folder.resolve().name}-{_stem(path)}", split)


def _file_set(path: Path, task: str, split: str) -> EvalSet:
    family = _family(path)
    if family == "sts":
        return _rows_set(task, family, split, read_scored_pairs(path), 2)
    if family == "pair-classification":
        return _rows_set(task, family, split, read_labelled_pairs(path), 2)
    if family == "bitext":
        return _rows_set(task, family, split, read_translation_pairs(path), 2)
    if family == "reranking":
        candidates = read_candidates(path)
        texts = sum(1 + len(row.positives) + len(row.negatives) for row in candidates)
        return EvalSet(task, family, split, candidates, texts)
    if family == "labels":
        labels = read_labels(path)
        train = next((file for end in ENDS if (file := path.with_name(f"train.jsonl{end}")).is_file()), None)
        if train is None or train == path:
            return _rows_set(task, "clustering", split, labels, 1)
        learned = read_labels(train)
        return EvalSet(task, "classification", split, (learned, labels), len(learned) + len(labels))
    raise DataError(f"not an evaluation set; {EXPECTED}", path, 1)


def _rows_set(task: str, family: str, split: str, rows: tuple[Any, ...], texts_a_row: int) -> EvalSet:
    return EvalSet(task, family, split, rows, texts_a_row * len(rows))


def _family(path: Path) -> str:
    """What the keys of the first row say; "" if they are no set's. A file of labels may serve two families."""
    keys = next((set(obj) for _, obj in read_objects(path)), set())
    if {"sentence1", "sentence2"} <= keys:
        return "sts" if "score" in keys else "pair-classification" if "label" in keys else "bitext"
    if {"query", "positives", "negatives"} <= keys:
        return "reranking"
    return "labels" if {"text", "label"} <= keys else ""


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".jsonl")
