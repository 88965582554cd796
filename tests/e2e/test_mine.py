"""Mining through the command line: with BM25, a tiny model and an index; the recipe's stage; what a user gets wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from command import TOPICS, Answer, World, call, small_world
from embedloom.records import Document, Example
from embedloom.run import read_records, write_records

WORDS = ("bread", "boats", "wind", "rain", "stone", "night")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return small_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """Six documents about each word; one query a word with two judged answers, one of them in another split."""
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    lines = [
        {"_id": f"{word}{n}", "title": "", "text": f"{word} {n} of the town and its river"}
        for word in WORDS
        for n in range(6)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    queries = [{"_id": word, "text": f"what about {word}"} for word in WORDS]
    (folder / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries), encoding="utf-8")
    for split, number in (("train", 0), ("test", 1)):
        judged = "".join(f"{word}\t{word}{number}\t1\n" for word in WORDS)
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", encoding="utf-8")
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    write_records(
        path, [Example("Find it", f"what about {word}", (f"{word} 0 of the town and its river",)) for word in WORDS]
    )
    return path


def mined(answer: Answer, out: Path) -> list[Example]:
    assert answer.status == 0, answer.error
    assert not list(out.parent.glob(".*.mining")), "the work folder is left"
    return list(read_records(out, Example))


def test_bm25_leaves_out_what_is_judged_in_any_split(
    beir: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "mined.jsonl"
    arguments = ["mine", rows, "--corpus", beir, "--with", "bm25", "--out", out, "--negatives", "9", "--below", "0"]
    answer = call(capsys, *arguments)
    found = mined(answer, out)
    assert [row.query for row in found] == [f"what about {word}" for word in WORDS]
    for word, row in zip(WORDS, found, strict=True):
        assert sorted(row.negatives) == [f"{word} {n} of the town and its river" for n in range(2, 6)]
    assert "6 rows: 0 mined, 6 with fewer than asked for, 0 with none left, 0 had enough; 24 negatives." in answer.out
    assert "Hits left out: 12 known positives, 0 too close to the positive, 0 repeated." in answer.out
    assert answer.out.splitlines()[-1] == str(out)
    first = out.read_bytes()
    call(capsys, *arguments)
    assert out.read_bytes() == first
    (beir / "qrels" / "test.tsv").unlink()
    more = mined(call(capsys, *arguments), out)
    assert {len(row.negatives) for row in more} == {5}
    known = tmp_path / "known.jsonl"
    answers = [
        {"query": f"What about {word}?", "positives": [f"{word} 4 OF the town, and its river"]} for word in WORDS
    ]
    known.write_text("".join(json.dumps(line) + "\n" for line in answers), encoding="utf-8")
    less = mined(call(capsys, *arguments, "--known", known), out)
    assert not [text for row in less for text in row.negatives if " 4 " in text]


def test_a_judged_document_is_an_answer_under_another_id_too(
    world: World, beir: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The qrels name ids; the corpus has the same texts under others, and some of the ids not at all."""
    twins = tmp_path / "twins"
    lines = [
        {"_id": f"{twin}{word}{n}", "text": f"{word} {n} OF the town, and its river"}
        for word in WORDS
        for n in range(3)
        for twin in ("", "twin-")
        if (word, n, twin) != ("bread", 1, "")
    ]
    twins.mkdir()
    (twins / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    out = tmp_path / "mined.jsonl"
    assert call(capsys, "index", world.base, twins, "--out", tmp_path / "index").status == 0
    for source in (["--corpus", twins, "--with", "bm25"], ["--with", tmp_path / "index", "--last", "35"]):
        common = ["--negatives", "35", "--below", "0", "--known", beir, "--out", out]
        for row, word in zip(mined(call(capsys, "mine", rows, *source, *common), out), WORDS, strict=True):
            own = {text for text in row.negatives if text.startswith(word)}
            left = {f"{word} {n} OF the town, and its river" for n in ((1, 2) if word == "bread" else (2,))}
            assert own == left


def test_rows_can_be_mined_in_place_from_themselves(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(
        capsys, "mine", rows, "--corpus", rows, "--with", "bm25", "--out", rows, "--negatives", "2", "--below", "0"
    )
    found = mined(answer, rows)
    assert {row.negatives for row in found} == {()}, "no other row's positive shares a word with the query"
    assert "6 with none left" in answer.out


def test_a_model_and_its_index_find_the_same(
    world: World, beir: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--negatives", "3", "--last", "20", "--below", "1"]
    dense, indexed = tmp_path / "dense.jsonl", tmp_path / "indexed.jsonl"
    answer = call(capsys, "mine", rows, "--corpus", beir, "--with", world.base, "--out", dense, *common)
    by_model = mined(answer, dense)
    assert any(row.negatives for row in by_model)
    for row, word in zip(by_model, WORDS, strict=True):
        judged = {f"{word} {n} of the town and its river" for n in (0, 1)}
        assert judged.isdisjoint(row.negatives)
    assert call(capsys, "index", world.base, beir, "--out", tmp_path / "index").status == 0
    answer = call(capsys, "mine", rows, "--with", tmp_path / "index", "--known", beir, "--out", indexed, *common)
    by_index = mined(answer, indexed)
    assert [row.negatives for row in by_index] == [row.negatives for row in by_model]
    drawn = mined(
        call(capsys, "mine", rows, "--with", tmp_path / "index", "--out", indexed, *common, "--drawn"), indexed
    )
    assert [row.negatives for row in drawn] != [row.negatives for row in by_index]


def test_an_interrupted_mining_keeps_the_vectors(
    world: World,
    beir: Path,
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from embedloom.model.encoder import Encoder

    out = tmp_path / "mined.jsonl"
    arguments = ["mine", rows, "--corpus", beir, "--with", world.base, "--out", out, "--below", "1"]

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "encode_queries", stop)
        answer = call(capsys, *arguments)
    assert (answer.status, out.exists()) == (130, False)
    assert (tmp_path / ".mined.jsonl.mining" / "vectors.f32").stat().st_size == 36 * 32 * 4
    asked: list[int] = []
    before = Encoder.encode_documents
    monkeypatch.setattr(
        Encoder,
        "encode_documents",
        lambda self, texts, **words: (asked.append(len(texts)), before(self, texts, **words))[1],
    )
    assert len(mined(call(capsys, *arguments), out)) == 6
    assert sum(asked) <= 6, "positives at most: the corpus is encoded already"


@pytest.mark.parametrize("kind", ["run", "texts"])
def test_other_corpora(world: World, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = world.texts
    if kind == "run":
        corpus = tmp_path / "run"
        write_records(corpus / "passages.jsonl", [Document(topic, f"Who sells {topic}") for topic in TOPICS])
    out = tmp_path / "mined.jsonl"
    row = {"query": "bread and ferries", "positives": ["All about bread and ferries"]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    answer = call(
        capsys, "mine", tmp_path / "rows.jsonl", "--corpus", corpus, "--with", "bm25", "--out", out,
        "--instruction", "Find it", "--negatives", "2",
    )  # fmt: skip
    (found,) = mined(answer, out)
    assert len(found.negatives) == 2
    assert found.instruction == "Find it"
    assert all("bread" in text or "ferries" in text for text in found.negatives)


def test_the_stage_gives_negatives_to_rows_with_a_passage(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = ["run", world.recipe, "--out", out, "--until", "train", "--set", "mine.retriever=bm25"]
    arguments += ["--set", "mine.below=0", "--set", "mine.negatives=2"]
    answer = call(capsys, *arguments)
    assert answer.status == 0, answer.error
    plain = list(read_records(out / "train.jsonl", Example))
    found = list(read_records(out / "mined.jsonl", Example))
    passages = {passage.content for passage in read_records(out / "passages.jsonl", Document)}
    assert [row.query for row in found] == [row.query for row in plain]
    for row in found:
        assert bool(row.negatives) == bool(row.passage_id)
        assert {*row.negatives} <= passages
        assert not {*row.positives} & {*row.negatives}
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["mine"]["rows"] == sum(bool(row.passage_id) for row in plain)
    assert manifest["mine"]["negatives"] == sum(len(row.negatives) for row in found)
    assert not (out / "mining").exists()
    reported = call(capsys, *[word if word != "train" else "report" for word in arguments])
    assert reported.status == 0, reported.error
    assert "Hard negative" in (out / "report.html").read_text(encoding="utf-8")
    again = call(capsys, *arguments)
    assert [line.split()[1:] for line in again.error.splitlines()] == [["done", "before"]] * 10
    without = call(capsys, *arguments, "--set", "mine.retriever=none")
    assert without.status == 0, without.error
    assert not any(line.startswith("mine") for line in without.error.splitlines())
    assert next(line for line in without.error.splitlines() if line.startswith("train ")).split()[1] != "done"


def test_the_stage_gives_negatives_to_labelled_rows_that_a_passage_answers(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert call(capsys, "run", world.recipe, "--out", out, "--until", "corpus").status == 0
    passage = next(read_records(out / "passages.jsonl", Document))
    answered = Example("Find it", passage.content.split(".")[0], (f" {passage.content.upper()}",))
    foreign = Example("Find it", "a boat at night", ("Boats are small ships.",))
    labelled = tmp_path / "labelled.jsonl"
    write_records(labelled, [answered, foreign])
    arguments = ["run", world.recipe, "--out", out, "--until", "mine", "--set", "mine.retriever=bm25"]
    arguments += ["--set", "mine.below=0", "--set", f"train.sources=[{{ data = 'path:{labelled}', weight = 2.0 }}]"]
    for kind, wanted in {"labelled": (False, True), "all": (True, True), "written": (True, False)}.items():
        answer = call(capsys, *arguments, "--set", f"mine.rows={kind}")
        assert answer.status == 0, answer.error
        found = list(read_records(out / "mined.jsonl", Example))
        assert {bool(row.negatives) for row in found if row.passage_id} == {wanted[0]}
        assert [bool(row.negatives) for row in found if row.query == answered.query] == [wanted[1]] * 2
        assert [bool(row.negatives) for row in found if row.query == foreign.query] == [False] * 2
        assert all(passage.content not in row.negatives for row in found if row.query == answered.query)


def test_the_stage_mines_with_a_model_too(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    settings = ["--set", f"mine.retriever=path:{world.base}", "--set", "mine.below=1", "--set", "mine.pick=drawn"]
    answer = call(capsys, "run", world.recipe, "--out", out, "--until", "mine", *settings)
    assert answer.status == 0, answer.error
    assert not (out / "mining").exists()
    assert any(row.negatives for row in read_records(out / "mined.jsonl", Example))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl", "--corpus", "."], "nowhere.jsonl: no such file"),
        (["rows.jsonl", "--corpus", "nowhere"], "nowhere: no such file or folder"),
        (["rows.jsonl", "--corpus", "empty.jsonl"], "the corpus is empty"),
        (["rows.jsonl", "--corpus", "twice.jsonl"], "1 documents have an id that came before"),
        (["rows.jsonl", "--corpus", "bad.jsonl"], "bad.jsonl:1: key 'text' is missing"),
        (["empty.jsonl", "--corpus", "rows.jsonl"], "empty.jsonl: no training rows"),
        (["rows.jsonl"], "rows can be their own corpus"),
        (["rows.jsonl", "--corpus", "rows.jsonl", "--known", "nowhere"], "nowhere: no such file or folder"),
        (["rows.jsonl", "--corpus", "rows.jsonl", "--known", "."], "no queries.jsonl"),
        (["rows.jsonl", "--corpus", "rows.jsonl", "--first", "9", "--last", "3"], "--first 9 is behind --last 3"),
        (["rows.jsonl", "--corpus", "rows.jsonl", "--with", "nothing"], "no model folder 'nothing'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "bad.jsonl").write_text('{"_id": "a"}\n', encoding="utf-8")
    (tmp_path / "twice.jsonl").write_text('{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n', encoding="utf-8")
    chosen = [] if "--with" in arguments else ["--with", "bm25"]
    answer = call(capsys, "mine", *arguments, *chosen, "--out", "out.jsonl")
    assert answer.status == 2, answer
    assert message in answer.error.splitlines()[-1]
    assert "Traceback" not in answer.error
    assert not (tmp_path / "out.jsonl").exists()
