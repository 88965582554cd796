"""What is found at a path, what isn't, and one model over all of it."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from embedloom.data.beir import RetrievalSet, write_beir
from embedloom.data.lexical import BM25
from embedloom.errors import DataError
from embedloom.evals.suite import EvalSet, discover, evaluate, evaluate_search
from embedloom.records import Document
from word_embedder import WordEmbedder

STS = [{"sentence1": "a b", "sentence2": "a c", "score": 3}, {"sentence1": "d", "sentence2": "e", "score": 0}]
BITEXT = [{"sentence1": "a b", "sentence2": "a b"}, {"sentence1": "d", "sentence2": "d"}]
DUPLICATES = [{"sentence1": "a b", "sentence2": "a c", "label": i % 2} for i in range(4)]
RERANKING = [{"query": "a b", "positives": ["a b c"], "negatives": ["d"]}]
LABELS = [{"text": f"{label} {i}", "label": label} for label in ("x", "y") for i in range(9)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    retrieval = RetrievalSet("tiny", "test", (Document("d1", "a b"), Document("d2", "c")), {"q": "b"}, {"q": {"d1": 1}})
    write_beir(retrieval, root / "retrieval" / "tiny")
    write(root / "sts" / "pairs" / "test.jsonl", STS)
    write(root / "bitext" / "tatoeba" / "deu-eng.jsonl", BITEXT)
    write(root / "bitext" / "tatoeba" / "fra-eng.jsonl", BITEXT)
    write(root / "pairs" / "duplicates" / "test.jsonl", DUPLICATES)
    write(root / "reranking" / "order" / "test.jsonl", RERANKING)
    write(root / "classification" / "topics" / "test.jsonl", LABELS[::2])
    write(root / "classification" / "topics" / "train.jsonl", LABELS)
    write(root / "clustering" / "groups" / "test.jsonl", LABELS)
    write(root / "labelled" / "training.jsonl", RERANKING)
    root.joinpath("README.md").write_text("# Data\n")
    return root


def summary(sets: list[EvalSet]) -> list[tuple[str, str, int]]:
    return [(found.task, found.family, found.text_count) for found in sets]


def test_a_folder_of_sets_is_read_by_name(everything: Path) -> None:
    assert summary(discover(everything)) == [
        ("tatoeba-deu-eng", "bitext", 4),
        ("tatoeba-fra-eng", "bitext", 4),
        ("topics", "classification", 27),
        ("groups", "clustering", 18),
        ("duplicates", "pair-classification", 8),
        ("order", "reranking", 3),
        ("tiny", "retrieval", 3),
        ("pairs", "sts", 4),
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("retrieval/tiny", [("tiny", "retrieval", 3)]),
        ("sts/pairs", [("pairs", "sts", 4)]),
        ("sts/pairs/test.jsonl", [("test", "sts", 4)]),
        ("bitext/tatoeba/fra-eng.jsonl", [("fra-eng", "bitext", 4)]),
        ("labelled/training.jsonl", [("training", "reranking", 3)]),
        ("classification/topics/train.jsonl", [("train", "clustering", 18)]),
    ],
)
def test_one_set_is_found_by_its_own_path(everything: Path, path: str, expected: list[tuple[str, str, int]]) -> None:
    assert summary(discover(everything / path)) == expected


def test_a_relative_path_keeps_the_folders_name(everything: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(everything / "sts" / "pairs")
    assert discover(Path("."))[0].task == "pairs"


def test_gzipped_sets_are_found(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "test.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in STS)
    assert summary(discover(tmp_path)) == [(tmp_path.name, "sts", 4)]
    assert discover(tmp_path / "test.jsonl.gz")[0].task == "test"


def test_queries_that_are_documents_do_not_find_themselves(tmp_path: Path) -> None:
    corpus = (Document("d1", "red fox", "Title"), Document("d2", "red car"))
    for query, skips in (("red fox", True), ("red car", False)):
        write_beir(RetrievalSet("same", "test", corpus, {"d1": query}, {"d1": {"d2": 1}}), tmp_path / query)
        (found,) = discover(tmp_path / query)
        assert found.settings == ({"skip_same_id": True} if skips else {})
        # Skipped, the other document is first; else it is behind the query's own, or before it.
        ours, bm25 = next(evaluate(WordEmbedder(), [found])), next(evaluate_search(BM25, [found]))
        assert (ours.main.estimate.value, bm25.main.estimate.value) == (1.0, 1.0)


def test_another_split(everything: Path) -> None:
    write(everything / "sts" / "pairs" / "dev.jsonl", [*STS, *STS])
    found = discover(everything / "sts" / "pairs", split="dev")
    assert [(one.split, one.text_count) for one in found] == [("dev", 8)]


@pytest.mark.parametrize(
    ("rows", "path", "words"),
    [
        (None, "nowhere", "no such file or folder; expected a BEIR folder"),
        (None, ".", "no evaluation set with the split 'test' here; expected a BEIR folder"),
        ([{"prompt": "a"}], "rows.jsonl", "rows.jsonl:1: not an evaluation set; expected"),
        ([], "rows.jsonl", "rows.jsonl:1: not an evaluation set; expected"),
        ([STS[0], {"sentence1": "a"}], "test.jsonl", "test.jsonl:2: key 'sentence2' is missing"),
    ],
)
def test_what_is_no_set_is_said_in_one_sentence(
    tmp_path: Path, rows: list[dict[str, Any]] | None, path: str, words: str
) -> None:
    if rows is not None:
        write(tmp_path / path, rows)
    with pytest.raises(DataError) as caught:
        discover(tmp_path / path)
    assert words in str(caught.value)


def test_a_folder_that_holds_itself_ends(everything: Path) -> None:
    os.symlink(everything, everything / "again")
    assert len(discover(everything)) == 8


def test_one_model_over_all_families_tells_all_its_texts(everything: Path) -> None:
    sets = discover(everything)
    told: list[int] = []
    results = list(evaluate(WordEmbedder(), sets, progress=told.append))
    assert [(one.task, one.family) for one in results] == [(one.task, one.family) for one in sets]
    assert sum(told) == sum(one.text_count for one in sets)
    assert next(one for one in results if one.family == "bitext").main.estimate.value == 1
    assert all(one.split == "test" and one.seconds > 0 for one in results)


def test_results_come_one_by_one(everything: Path) -> None:
    embedder = WordEmbedder()
    results = evaluate(embedder, discover(everything / "bitext"))
    next(results)
    assert len(embedder.asked) == 2


def test_an_instruction_of_the_callers_reaches_every_family(everything: Path) -> None:
    embedder = WordEmbedder()
    results = list(evaluate(embedder, discover(everything), instruction="Mine"))
    assert {one.instruction for one in results} == {"Mine"}
    assert {instruction for role, instruction, _ in embedder.asked if role == "query"} == {"Mine"}


def test_a_search_without_vectors_takes_the_retrieval_sets(everything: Path) -> None:
    told: list[int] = []
    results = list(evaluate_search(BM25, discover(everything), progress=told.append))
    assert [(one.task, one.main.estimate.value) for one in results] == [("tiny", 1.0)]
    assert told == [1]
