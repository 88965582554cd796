"""Suites by name, by file and by folder; parts of big sets; sets by language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embedloom.data.beir import RetrievalSet, write_beir
from embedloom.errors import DataError
from embedloom.evals.languages import language_groups, task_language
from embedloom.evals.measured import set_content
from embedloom.evals.suite import EvalSet, discover, evaluate
from embedloom.evals.suites import limited, open_suite, suite_names
from embedloom.records import Document
from word_embedder import WordEmbedder

FRUIT = ("apple", "pear", "plum", "fig", "cherry")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The sets that a suite of the test names, in the layout of the named suites' data."""
    root = tmp_path / "data"
    corpus = tuple(Document(f"d{n}", f"{FRUIT[n % 5]} number {n}") for n in range(40))
    queries = {f"q{n}": f"number {n}" for n in range(20)}
    qrels = {f"q{n}": {f"d{n}": 1, f"d{n + 20}": 0} for n in range(20)}
    write_beir(RetrievalSet("big", "test", corpus, queries, qrels), root / "retrieval" / "big")
    pairs = [
        {"sentence1": f"{FRUIT[n % 5]} {n}", "sentence2": f"{FRUIT[n % 3]} {n}", "score": n % 5} for n in range(30)
    ]
    write(root / "sts" / "sts17-es-en" / "test.jsonl", pairs)
    write(root / "sts" / "sts17-en-en" / "test.jsonl", pairs)
    lines = [{"sentence1": f"{FRUIT[n % 5]} {n}", "sentence2": f"{n} {FRUIT[n % 5]}"} for n in range(30)]
    write(root / "bitext" / "tatoeba" / "deu-eng.jsonl", lines)
    rows = [{"query": f"{word} {n}", "positives": [word], "negatives": ["x", "y"]} for n, word in enumerate(FRUIT)]
    write(root / "reranking" / "order" / "test.jsonl", rows)
    labels = [{"text": f"{FRUIT[n % 2]} {n}", "label": n % 2} for n in range(24)]
    write(root / "classification" / "sib200-eng" / "test.jsonl", labels)
    write(root / "classification" / "sib200-eng" / "train.jsonl", labels)
    write(root / "clustering" / "sib200-eng" / "test.jsonl", labels)
    return root


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(
        "sets = [\n"
        '  { path = "retrieval/big", queries = 8, documents = 18 },\n'
        '  { path = "sts/sts17-en-en" },\n'
        '  { path = "bitext/tatoeba/deu-eng.jsonl", rows = 10 },\n'
        "]\n",
        encoding="utf-8",
    )
    return path


def test_a_file_of_sets_is_a_suite_with_its_limits(data: Path, suite: Path) -> None:
    sets = open_suite(str(suite), data=data)
    assert [(one.task, one.family, one.limit) for one in sets] == [
        ("big", "retrieval", "8 of 20 queries, 18 of 40 documents"),
        ("sts17-en-en", "sts", ""),
        ("tatoeba-deu-eng", "bitext", "10 of 30 pairs"),
    ]
    # A smaller limit for all of them is told of the whole set, too.
    assert [one.limit for one in open_suite(str(suite), data=data, limit=6)] == [
        "6 of 20 queries, 18 of 40 documents",
        "6 of 30 pairs",
        "6 of 30 pairs",
    ]
    results = list(evaluate(WordEmbedder(), sets))
    assert [(one.limit, one.count) for one in results] == [(sets[0].limit, 8), ("", 30), (sets[2].limit, 10)]
    assert {score.limit for score in results[2].scores()} == {"10 of 30 pairs"}


def test_a_folder_is_a_suite_of_all_its_sets_and_a_limit_holds_for_each(data: Path) -> None:
    sets = open_suite(str(data), limit=5)
    assert [(one.task, one.limit) for one in sets] == [
        ("tatoeba-deu-eng", "5 of 30 pairs"),
        ("sib200-eng", "5 of 24 test texts"),
        ("sib200-eng", "5 of 24 texts"),
        ("order", ""),
        ("big", "5 of 20 queries"),
        ("sts17-en-en", "5 of 30 pairs"),
        ("sts17-es-en", "5 of 30 pairs"),
    ]
    told: list[int] = []
    assert len(list(evaluate(WordEmbedder(), sets, progress=told.append))) == 7
    assert sum(told) == sum(one.text_count for one in sets)


def test_a_part_is_the_same_every_time_and_keeps_what_was_judged(data: Path) -> None:
    (whole,) = discover(data / "retrieval" / "big")
    part, again = (limited(whole, rows=8, documents=18).rows for _ in range(2))
    assert part == again
    kept = {document.id for document in part.corpus}
    assert {document for judged in part.qrels.values() for document in judged} <= kept
    assert [d.id for d in part.corpus] == [d.id for d in whole.rows.corpus if d.id in kept]
    assert list(part.queries) == [name for name in whole.rows.queries if name in part.queries]
    # Fewer documents than were judged can't be: those stay.
    assert len(limited(whole, rows=8, documents=3).rows.corpus) == 16
    assert limited(whole, rows=20, documents=40) is whole


def test_the_contents_of_a_set_tell_it_apart(data: Path) -> None:
    (whole,) = discover(data / "retrieval" / "big")
    assert set_content(whole) == set_content(discover(data / "retrieval" / "big")[0])
    assert set_content(whole) != set_content(limited(whole, rows=8))
    (classes,), (groups,) = discover(data / "classification"), discover(data / "clustering")
    assert set_content(classes) != set_content(groups)


def test_named_suites_look_where_the_environment_says(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"core", "smoke"} <= set(suite_names())
    monkeypatch.setenv("EMBEDLOOM_SHARED", str(data.parent))
    with pytest.raises(DataError, match=r"scifact: not there, though the suite has it; --data names"):
        open_suite("core")
    monkeypatch.setenv("EMBEDLOOM_SHARED", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no folder of data for the suite 'core'"):
        open_suite("core")


def test_a_suite_may_name_tasks_of_mteb(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def mteb_sets(name: str, *, split: str) -> list[EvalSet]:
        asked.append((name, split))
        return discover(data / "sts")

    monkeypatch.setattr("embedloom.evals.suites.mteb_sets", mteb_sets)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "suite.toml"
    path.write_text('sets = [{ path = "mteb:STS17", rows = 4 }]', encoding="utf-8")
    found = open_suite(str(path))
    assert [(one.task, one.limit) for one in found] == [
        ("sts17-en-en", "4 of 30 pairs"),
        ("sts17-es-en", "4 of 30 pairs"),
    ]
    assert asked == [("STS17", "test")]


def test_a_path_of_a_suite_may_be_a_folder_of_sets(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    path.write_text('sets = [{ path = "sts", rows = 3 }]', encoding="utf-8")
    found = open_suite(str(path), data=data)
    assert [one.task for one in found] == [one.task for one in open_suite(str(data / "sts"))]
    assert len(found) == 2
    assert all(one.limit.startswith("3 of ") for one in found)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("sets = [", "not a TOML file"),
        ("sets = []", "expected sets = "),
        ('sets = [{ path = "x", lines = 3 }]', "expected sets = "),
        ('sets = [{ path = "x", rows = 0 }]', "expected sets = "),
        ('sets = [{ path = "x", rows = true }]', "expected sets = "),
        ('sets = [{ path = "gone" }]', "not there, though the suite has it"),
    ],
)
def test_each_fault_of_a_suite_is_one_sentence(data: Path, tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "suite.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        open_suite(str(path), data=data)


def test_a_suite_that_is_none_is_told_with_those_there_are() -> None:
    with pytest.raises(DataError, match="no suite 'cor'; expected core, smoke, a folder"):
        open_suite("cor")


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("xquad-de", ("xquad", "de", "German", "high", True)),
        ("tatoeba-swh-eng", ("tatoeba", "swh-eng", "Swahili – English", "low", True)),
        ("tatoeba-lfn-eng", ("tatoeba", "lfn-eng", "Lingua Franca Nova – English", "low", False)),
        ("sib200-zho_Hans", ("sib200", "zho_Hans", "Chinese", "high", True)),
        ("SIB200Classification-tha_Thai", ("SIB200Classification", "tha_Thai", "Thai", "middle", True)),
        ("sts17-en-en", ("sts17", "en-en", "English", "high", True)),
        ("tatoeba-nob-eng", ("tatoeba", "nob-eng", "Norwegian Bokmål – English", "low", True)),
    ],
)
def test_the_language_of_a_set_is_read_from_its_name(task: str, expected: tuple[str, str, str, str, bool]) -> None:
    found = task_language(task)
    assert found is not None
    assert (found.group, found.label, found.name, found.resources, found.listed) == expected


@pytest.mark.parametrize("task", ["scifact", "hotpotqa-dev500", "known-item", "trec-question", "sts17-es-en-wmt"])
def test_other_names_end_in_no_language(task: str) -> None:
    assert task_language(task) is None


def test_sets_of_one_kind_make_a_group_from_two_on() -> None:
    tasks = [("xquad-de", "retrieval"), ("xquad-en", "retrieval"), ("sib200-de", "clustering"), ("sib200-de", "sts")]
    assert language_groups((task, family, "test") for task, family in tasks) == {
        ("xquad", "retrieval", "test"): ["xquad-de", "xquad-en"]
    }
