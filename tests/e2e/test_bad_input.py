"""What a user gets wrong ends with status 2 and one sentence that names the place; never with a traceback."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from command import Answer, World, call, small_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return small_world(tmp_path_factory.mktemp("world"))


def sentence(answer: Answer) -> str:
    """The one error line of a command that failed as it should; stages that were done before may be told above it."""
    assert answer.status == 2, answer
    assert "Traceback" not in answer.error + answer.out
    lines = [line for line in answer.error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, answer.error
    assert answer.error.splitlines()[-1] == lines[0]
    return lines[0]


def run(capsys: pytest.CaptureFixture[str], world: World, out: Path, *settings: str, until: str = "report") -> str:
    changes = [word for setting in settings for word in ("--set", setting)]
    return sentence(call(capsys, "run", world.recipe, "--out", out, "--until", until, *changes))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("trian.epochs=3", "unknown key 'trian'; did you mean 'train'?"),
        ("corpus.source=path:nowhere", "nowhere: no such file or folder"),
        ("corpus.source=['path:nowhere', 'path:neither']", "none of the data sets is there: nowhere"),
        ("train.base=path:nowhere", "no model folder 'nowhere'"),
        ("train.base=registry:nothing", "no registry model 'nothing'; there are"),
        ("llm.model=scripted:nothing.jsonl", "nothing.jsonl: no such file"),
        ("llm.model=gpt", "no language model 'gpt'"),
        ("eval.sets=['path:nowhere']", "nowhere: no such file or folder"),
        ("eval.baselines=['path:nowhere']", "no model folder 'nowhere'"),
        ("train.sources=[{data='path:nowhere.jsonl'}]", "nowhere.jsonl: no such file"),
        ("train.sources=[{data='sample:nothing'}]", "unknown sample data 'nothing'"),
        ("train.batch_size=64", "fewer than one batch of 64; lower train.batch_size"),
        ("tasks=[{instruction='x', family='storytelling'}]", "storytelling"),
        ("tasks=[]", "task"),
        ("generate.counts={storytelling=3}", "storytelling"),
        ("generate.counts={grounded=-3}", "grounded"),
        ("generate.languages={Klingon=1}", "Klingon"),
        ("curate.round_trip=path:nowhere", "no model folder 'nowhere'"),
    ],
)
def test_settings(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, message: str) -> None:
    settings = [setting]
    if "languages" in setting:
        settings += ["generate.counts={sts=4}", "tasks=[{instruction='x', family='sts'}]"]
    assert message in run(capsys, world, tmp_path / "run", *settings)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"query": "a", ', "rows.jsonl:2: not valid JSON"),
        ("[1, 2]", "rows.jsonl:2: expected a JSON object"),
        ('{"query": "a", "instruction": "i"}', "rows.jsonl:2: key 'positives'"),
        ('{"query": "a", "instruction": "i", "positive": ["b"]}', "rows.jsonl:2: unknown key 'positive'"),
        ('{"query": "a", "positives": ["b"]}', "rows.jsonl:2: the row has no instruction"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    rows = tmp_path / "rows.jsonl"
    good = json.dumps({"instruction": "i", "query": "q", "positives": ["p"]})
    rows.write_text(f"{good}\n{line}\n{good}\n", encoding="utf-8")
    settings = [f"train.sources=[{{data='path:{rows}'}}]", "generate.counts={}"]
    assert message in run(capsys, world, tmp_path / "run", *settings, until="mix")


def test_an_empty_corpus(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert "no text in this folder" in run(capsys, world, tmp_path / "run", f"corpus.source=path:{tmp_path / 'empty'}")
    (tmp_path / "empty" / "a.md").write_text("# One\n\nword\n", encoding="utf-8")
    assert "no passage is left" in run(capsys, world, tmp_path / "run", f"corpus.source=path:{tmp_path / 'empty'}")
    (tmp_path / "corpus.jsonl").write_text("", encoding="utf-8")
    source = f"corpus.source=path:{tmp_path / 'corpus.jsonl'}"
    assert re.search("no passage|empty|no document", run(capsys, world, tmp_path / "run", source))


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        ("q9\td1\t1", "q9"),
        ("q1\td9\t1", "d9"),
        ("q1\td1\tmany", "many"),
        ("q1 d1", "test.tsv:2"),
    ],
)
def test_faulty_qrels_are_named(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], qrels: str, message: str
) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "title": "", "text": "a text"}\n', encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "a query"}\n', encoding="utf-8")
    (tmp_path / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qrels}\n", encoding="utf-8")
    found = sentence(call(capsys, "eval", world.base, tmp_path))
    assert message in found
    assert "test.tsv:2" in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "bm25", "."], "no evaluation set with the split 'test' here"),
        (["search", ".", "words", "--model", "bm25"], "no "),
        (["eval", "bm25", "nowhere"], "nowhere: no such file or folder"),
        (["check", "nowhere"], "nowhere: no embedloom.json here"),
        (["index", "nowhere", ".", "--out", "x"], "no "),
        (["search", "nowhere", "words", "--model", "nowhere"], "nowhere"),
        (["search", "nowhere", "words", " ", "--model", "nowhere"], "a query is empty"),
        (["run", "nowhere.toml"], "no recipe 'nowhere.toml'"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_names_that_lead_nowhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in sentence(call(capsys, *arguments))


@pytest.mark.parametrize("arguments", [[], ["dance"], ["run"], ["eval", "bm25"], ["run", "a.toml", "--until", "dusk"]])
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    answer = call(capsys, *arguments)
    assert answer.status == 2
    assert "Usage" in answer.error
    assert "Traceback" not in answer.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "m", "--out", "i", "--update"], "Missing argument 'CORPUS': --update adds its documents"),
        (["index", "m", "corpus", "--out", "i", "--compact"], "--compact reads no CORPUS; add --update"),
        (["index", "m", "--out", "i", "--delete", "ids.txt", "--kind", "exact"], "--kind is for a new index"),
        (["index", "m", "c", "--out", "i", "--update", "--words", "english"], "--words is for a new index"),
        (["index", "m", "c", "--out", "i", "--update", "--overwrite"], "--overwrite is for a new index"),
        (["eval", "bm25", "set", "--data", "."], "--data is for a named --suite"),
        (["eval", "bm25", "set", "--baseline", "bm25"], "--baseline is for a report of several models"),
        (["train", "a.toml", "--rows", "8"], "--rows is for --estimate: without that, the training would begin"),
        (["train", "a.toml", "--devices", "8"], "--devices is for --estimate"),
        (["generate", "a.toml", "--rate", "8"], "--rate is for --estimate: without that, the language model would be"),
        (["generate", "a.toml", "--tokenizer", "registry:minilm"], "--tokenizer is for --estimate"),
    ],
    ids=lambda value: " ".join(word for word in value if word[:2] == "--") if isinstance(value, list) else "",
)
def test_an_option_that_would_be_passed_over_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = call(capsys, *arguments)
    assert answer.status == 2
    assert message in answer.error
    assert not any(tmp_path.iterdir())


def test_a_limit_holds_for_sets_that_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "qrels").mkdir()
    texts = [f"{name} number {number}" for number, name in enumerate(("bread", "wool", "glass", "stone"))]
    for name, key in (("corpus", "d"), ("queries", "q")):
        lines = [json.dumps({"_id": f"{key}{number}", "text": text}) for number, text in enumerate(texts)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    judged = "".join(f"q{number}\td{number}\t1\n" for number in range(4))
    (tmp_path / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", encoding="utf-8")
    answer = call(capsys, "eval", "bm25", tmp_path, "--limit", "3")
    assert answer.status == 0
    assert "n=3  (3 of 4 queries)" in answer.out


def test_a_wrong_baseline_is_told_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "test.jsonl").write_text(
        '{"sentence1": "a", "sentence2": "b"}\n{"sentence1": "c", "sentence2": "d"}\n', encoding="utf-8"
    )
    results = tmp_path / "results"
    words = ["eval", "bm25", "--suite", tmp_path / "set", "--baseline", "bm5", "--results", results]
    assert "the baseline 'bm5' is none of the models: bm25" in sentence(call(capsys, *words))
    assert not results.exists()


def test_mining_in_a_corpus_that_is_not_there_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["mine", "sample:llm-written", "--with", "bm25", "--corpus", tmp_path / "nowhere"]
    assert "nowhere: no such file or folder" in sentence(call(capsys, *words, "--out", tmp_path / "mined.jsonl"))
    assert not any(tmp_path.iterdir())


def test_ids_to_delete_that_are_not_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ids.txt").write_bytes(b"d1\n\xff\n")
    found = sentence(call(capsys, "index", "bm25", "--out", tmp_path / "i", "--delete", tmp_path / "ids.txt"))
    assert "ids.txt: not UTF-8 text" in found


def test_a_damaged_log_of_a_run_is_named(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert call(capsys, "run", world.recipe, "--out", out, "--until", "generate").status == 0
    log = out / "generations.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines()
    log.write_text("\n".join([*lines[:3], "{broken", *lines[4:]]) + "\n", encoding="utf-8")
    assert "generations.jsonl:4: not valid JSON" in run(capsys, world, out)
