"""`embedloom eval --suite` and `embedloom leaderboard`: several models, one folder of results, one report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command import call
from embedloom.data.beir import RetrievalSet, write_beir
from embedloom.records import Document
from tiny import save_tiny

FRUIT = ("apple", "pear", "plum", "fig", "cherry")


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("models")
    return save_tiny(root / "one"), save_tiny(root / "two", seed=1)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets")
    corpus = tuple(Document(f"d{n}", f"{FRUIT[n % 5]} number {n}") for n in range(20))
    queries = {f"q{n}": f"number {n} {FRUIT[n % 5]}" for n in range(10)}
    write_beir(
        RetrievalSet("fruit", "test", corpus, queries, {f"q{n}": {f"d{n}": 1} for n in range(10)}), root / "fruit"
    )
    for language in ("deu", "swh"):
        lines = [{"sentence1": f"{FRUIT[n % 5]} {n}", "sentence2": f"{n} {FRUIT[n % 5]}"} for n in range(12)]
        write(root / "tatoeba" / f"{language}-eng.jsonl", lines)
    pairs = [
        {"sentence1": f"{FRUIT[n % 5]} {n}", "sentence2": f"{FRUIT[n % 3]} {n}", "score": n % 5} for n in range(12)
    ]
    write(root / "pairs" / "test.jsonl", pairs)
    return root


def test_models_side_by_side_in_one_command(
    models: tuple[Path, Path], sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, results = tmp_path / "scores.jsonl", tmp_path / "results"
    arguments = ["eval", f"one={models[0]}", f"two={models[1]}", "bm25", "--suite", sets, "--results", results]
    answer = call(capsys, *arguments, "--baseline", "one", "--out", out, "--dtype", "float32")
    assert answer.status == 0, answer.error
    for words in ("Leaderboard: figures x 100", "more than one", "tatoeba, 2 languages", "mean of the families", "(+"):
        assert words in answer.out, words
    names = {path.name for path in results.iterdir()}
    assert {
        "results.jsonl",
        "scores.jsonl",
        "report.html",
        "report.md",
        "models.jsonl",
        "vectors-float32.sqlite",
    } <= names
    assert {"one", "two", "bm25"} == {row["model"] for row in rows_of(results / "scores.jsonl")}
    assert sorted(rows_of(out), key=str) == sorted(rows_of(results / "scores.jsonl"), key=str)
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "Speed" in page
    assert "mean of 2 languages" in page
    (tatoeba,) = results.glob("mteb/two/*/Tatoeba.json")
    entries = json.loads(tatoeba.read_text(encoding="utf-8"))["scores"]["test"]
    assert [entry["hf_subset"] for entry in entries] == ["deu-eng", "swh-eng"]
    assert "model-index" in (results / "mteb" / "two" / "model-index.md").read_text(encoding="utf-8")
    # What is there is not measured again, and several processes give the same figures as one.
    before = (results / "results.jsonl").read_bytes()
    again = call(capsys, *arguments, "--baseline", "one", "--dtype", "float32")
    assert again.status == 0, again.error
    assert (results / "results.jsonl").read_bytes() == before
    assert again.out == answer.out
    several = tmp_path / "several"
    answer = call(
        capsys,
        "eval",
        f"one={models[0]}",
        "--suite",
        sets,
        "--results",
        several,
        "--processes",
        2,
        "--dtype",
        "float32",
    )
    assert answer.status == 0, answer.error
    plain = {(r["task"], r["metric"]): r["value"] for r in rows_of(results / "scores.jsonl") if r["model"] == "one"}
    shared = {(r["task"], r["metric"]): r["value"] for r in rows_of(several / "scores.jsonl")}
    assert shared == pytest.approx(plain, abs=1e-6)


def test_results_of_several_folders_make_one_leaderboard(
    models: tuple[Path, Path], sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, model in zip(("one", "two"), models, strict=True):
        answer = call(capsys, "eval", f"{name}={model}", "--suite", sets / "fruit", "--results", tmp_path / name)
        assert answer.status == 0, answer.error
    answer = call(
        capsys, "leaderboard", tmp_path / "one", tmp_path / "two", "--out", tmp_path / "both", "--baseline", "one"
    )
    assert answer.status == 0, answer.error
    assert {row["model"] for row in rows_of(tmp_path / "both" / "scores.jsonl")} == {"one", "two"}
    text = (tmp_path / "both" / "report.md").read_text(encoding="utf-8")
    assert "two: ahead on" in text
    for arguments, words in (
        (["--models", "three"], "no results of 'three'; there are those of one, two"),
        (["--baseline", "three"], "no results of the baseline 'three'"),
    ):
        answer = call(capsys, "leaderboard", tmp_path / "one", tmp_path / "two", "--out", tmp_path / "x", *arguments)
        assert (answer.status, words in answer.error) == (2, True), answer.error
    answer = call(capsys, "eval", f"one={models[1]}", "--suite", sets / "fruit", "--results", tmp_path / "other")
    answer = call(capsys, "leaderboard", tmp_path / "one", tmp_path / "other", "--out", tmp_path / "x")
    assert answer.status == 2
    assert "'one' is another model here than in" in answer.error


def test_the_instructions_words_and_the_batch_are_told_in_the_report(
    models: tuple[Path, Path], sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    arguments = ["--suite", sets / "pairs", "--results", results, "--paraphrases", "--invariance", "--dtype", "float32"]
    answer = call(capsys, "eval", f"one={models[0]}", f"two={models[1]}", *arguments)
    assert answer.status == 0, answer.error
    assert answer.out.count("under 4 instructions; best - worst") == 2
    assert len(rows_of(results / "results.jsonl")) == 2
    assert [(row["model"], row["task"]) for row in rows_of(results / "sensitivity.jsonl")] == [
        ("one", "pairs"),
        ("two", "pairs"),
    ]
    assert {row["what"] for row in rows_of(results / "invariance.jsonl")} == {
        "batch and order",
        "float32 against bfloat16",
    }
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "Words of the instruction" in page
    assert "Batch and precision" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a=bm25", "a=bm25", "--suite", "sets"], "two models are called 'a'; name them as LABEL=MODEL"),
        (["bm25", "x=nowhere", "--suite", "sets"], "no model folder 'nowhere'"),
        (["bm25", "--suite", "sets", "--baseline", "b"], "the baseline 'b' is none of the models: bm25"),
        (["bm25", "--suite", "nowhere"], "no suite 'nowhere'; expected core"),
        (["bm25", "--suite", "core", "--data", "."], "not there, though the suite has it"),
        (["bm25", "--suite", "sets", "--paraphrases"], "bm25 has no instruction and no vectors"),
    ],
)
def test_what_can_not_be_measured_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "sets" / "tatoeba" / "deu-eng.jsonl", [{"sentence1": "a", "sentence2": "b"}])
    answer = call(capsys, "eval", *arguments)
    # Nothing was measured before it was said.
    assert answer.out == ""
    assert (answer.status, answer.error.count("\n")) == (2, 1), answer.error
    assert words in answer.error


def test_a_model_in_a_run_folder_brings_its_training_and_data(
    models: tuple[Path, Path], sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    save_tiny(run / "model", "qwen3")
    (run / "manifest.json").write_text("{}", encoding="utf-8")
    (run / "recipe.json").write_text('{"recipe": {"train": {"base": "hub:some/base"}}}', encoding="utf-8")
    (run / "data.html").write_text("<p>", encoding="utf-8")
    steps = [{"step": n, "loss": 2.0 / n, "learning_rate": 1e-3, "gradient_norm": 1.0} for n in range(1, 9)]
    write(run / "training" / "log.jsonl", steps)
    write(run / "training" / "development.jsonl", [{"step": 4, "score": 0.5}, {"step": 8, "score": 0.6}])
    rows = [
        {"instruction": "i", "query": f"q{n}", "positives": ["p"], "family": "sts", "language": f"Language {n}"}
        for n in range(20)
    ]
    write(run / "train.jsonl", rows)
    write(run / "rejects" / "curate.jsonl", [{"id": "a", "stage": "curate", "rule": "too-short"}])
    results = tmp_path / "results"
    answer = call(capsys, "eval", f"tuned={run / 'model'}", "--suite", sets / "fruit", "--results", results)
    assert answer.status == 0, answer.error
    page = (results / "report.html").read_text(encoding="utf-8")
    for words in ("Training of tuned", "From hub:some/base on 20 rows", "Development score", "curate: too-short"):
        assert words in page, words
    assert "5 others" in page
    assert "8 steps, last loss 0.25" in (results / "report.md").read_text(encoding="utf-8")
    assert (results / "vectors.sqlite").exists()
    # Another precision has vectors and results of its own.
    arguments = ["eval", f"tuned={run / 'model'}", "--suite", sets / "fruit", "--results", results]
    assert call(capsys, *arguments, "--dtype", "float32").status == 0
    assert (results / "vectors-float32.sqlite").exists()
    assert len(rows_of(results / "results.jsonl")) == 2


HEAD = "query-id\tcorpus-id\tscore\n"
BEIR = {
    "corpus.jsonl": '{"_id": "d", "text": "a"}\n',
    "queries.jsonl": '{"_id": "q", "text": "a"}\n',
    "qrels/test.tsv": HEAD + "q\td\t1\n",
}
PAIR = '{"sentence1": "a", "sentence2": "b", "score": 1}\n'


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({**BEIR, "qrels/test.tsv": None}, "test.tsv: no such file; splits with qrels: none"),
        ({**BEIR, "qrels/test.tsv": HEAD}, "no query has a relevant document"),
        ({**BEIR, "corpus.jsonl": 2 * BEIR["corpus.jsonl"]}, "corpus.jsonl:2: document id 'd' occurs twice"),
        ({**BEIR, "queries.jsonl": 2 * BEIR["queries.jsonl"]}, "queries.jsonl:2: query id 'q' occurs twice"),
        ({**BEIR, "queries.jsonl": '{"_id": "q", "text": " "}\n'}, "queries.jsonl:1: key 'text' is empty"),
        ({**BEIR, "corpus.jsonl": ""}, "the corpus is empty"),
        ({"test.jsonl": PAIR + PAIR.replace("1}", "NaN}")}, "test.jsonl:2: key 'score': expected a finite number"),
        ({"test.jsonl": PAIR + PAIR}, "expected at least two pairs with different scores"),
        ({"test.jsonl": PAIR.replace('"a"', '""')}, "test.jsonl:1: key 'sentence1' is empty"),
        ({"test.jsonl": 2 * PAIR.replace("score", "label")}, "expected pairs of both labels, 0 and 1"),
        ({"test.jsonl": '{"text": "a", "label": "x"}\n'}, "expected at least two different labels, found 1"),
        ({"test.jsonl": '{"text": "", "label": "x"}\n'}, "test.jsonl:1: key 'text' is empty"),
        (
            {"test.jsonl": '{"query": "q", "positives": ["a"], "negatives": []}\n'},
            "test.jsonl:1: expected at least one positive and one negative",
        ),
    ],
)
def test_a_malformed_set_ends_with_one_sentence_before_any_model_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str | None], words: str
) -> None:
    for name, content in files.items():
        path = tmp_path / "sets" / "bad" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_text(content, encoding="utf-8")
    answer = call(capsys, "eval", "no-such-model", "--suite", tmp_path / "sets", "--results", tmp_path / "results")
    assert (answer.status, answer.error.count("\n")) == (2, 1), answer.error
    assert words in answer.error
    assert not (tmp_path / "results").exists()
