"""BEIR folders: what is read, what is written, and the sentence each fault gets."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedloom.data.beir import RetrievalSet, read_answers, read_beir, read_corpus_file, write_beir
from embedloom.errors import DataError
from embedloom.records import Document

CORPUS = ['{"_id": "d1", "title": "T", "text": "one"}', '{"_id": "d2", "text": "two"}']
QUERIES = ['{"_id": "q1", "text": "first"}', '{"_id": "q2", "text": "second"}', '{"_id": "q3", "text": "unjudged"}']
QRELS = ["query-id\tcorpus-id\tscore", "q1\td1\t1", "q2\td2\t2", "q2\td1\t0"]


def folder(
    path: Path, corpus: list[str] = CORPUS, queries: list[str] = QUERIES, qrels: list[str] | None = QRELS
) -> Path:
    path.joinpath("qrels").mkdir(parents=True)
    path.joinpath("corpus.jsonl").write_text("\n".join(corpus) + "\n")
    path.joinpath("queries.jsonl").write_text("\n".join(queries) + "\n")
    if qrels is not None:
        path.joinpath("qrels/test.tsv").write_text("\n".join(qrels) + "\n")
    return path


def test_only_judged_queries_are_kept(tmp_path: Path) -> None:
    found = read_beir(folder(tmp_path / "tiny"))
    assert found == RetrievalSet(
        name="tiny",
        split="test",
        corpus=(Document("d1", "one", "T"), Document("d2", "two")),
        queries={"q1": "first", "q2": "second"},
        qrels={"q1": {"d1": 1}, "q2": {"d2": 2, "d1": 0}},
    )


def test_a_mark_that_editors_put_before_utf8_is_no_fault(tmp_path: Path) -> None:
    path = folder(tmp_path / "tiny")
    for file in (path / "corpus.jsonl", path / "queries.jsonl", path / "qrels" / "test.tsv"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert read_beir(path) == read_beir(folder(tmp_path / "plain" / "tiny"))


def test_a_query_whose_judgements_are_all_zero_is_left_out(tmp_path: Path) -> None:
    found = read_beir(folder(tmp_path / "tiny", qrels=[*QRELS[:2], "q2\td2\t0"]))
    assert list(found.queries) == ["q1"]


def test_gzipped_files_and_whole_number_ids_are_read(tmp_path: Path) -> None:
    path = folder(tmp_path / "tiny", qrels=[QRELS[0], "q1\t7\t1"])
    path.joinpath("corpus.jsonl").unlink()
    with gzip.open(path / "corpus.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write('{"_id": 7, "title": null, "text": ""}\n')
    assert read_beir(path).corpus == (Document("7", ""),)


@pytest.mark.parametrize(
    ("change", "where", "words"),
    [
        ({"corpus": [CORPUS[0], '{"_id": "d2" "text"']}, "corpus.jsonl:2", "not valid JSON"),
        ({"corpus": [CORPUS[0], '["d2"]']}, "corpus.jsonl:2", "expected a JSON object"),
        ({"corpus": [CORPUS[0], '{"text": "two"}']}, "corpus.jsonl:2", "key '_id' is missing"),
        ({"corpus": [CORPUS[0], '{"_id": "d2"}']}, "corpus.jsonl:2", "key 'text' is missing"),
        ({"corpus": [CORPUS[0], '{"_id": "d2", "text": 5}']}, "corpus.jsonl:2", "expected text, got int"),
        ({"corpus": [CORPUS[0], '{"_id": true, "text": "x"}']}, "corpus.jsonl:2", "expected an id"),
        ({"corpus": [*CORPUS, CORPUS[0]]}, "corpus.jsonl:3", "'d1' occurs twice (first in line 1)"),
        ({"corpus": [""]}, "corpus.jsonl", "corpus is empty"),
        ({"queries": [*QUERIES, QUERIES[1]]}, "queries.jsonl:4", "'q2' occurs twice (first in line 2)"),
        ({"queries": [QUERIES[0], '{"_id": "q2", "text": "  "}']}, "queries.jsonl:2", "'text' is empty"),
        ({"queries": [QUERIES[0], '{"_id": "q2"}']}, "queries.jsonl:2", "'text' is missing"),
        ({"qrels": None}, "test.tsv", "splits with qrels: none"),
        ({"qrels": [*QRELS, "q9\td1\t1"]}, "test.tsv:5", "'q9' is not in queries.jsonl"),
        ({"qrels": [*QRELS, "q3\td9\t1"]}, "test.tsv:5", "has document 'd9', which the corpus doesn't hold"),
        ({"qrels": [*QRELS, "q3\td1\thigh"]}, "test.tsv:5", "score 'high' is no whole number"),
        ({"qrels": [*QRELS, "q3\td1\t0.5"]}, "test.tsv:5", "score '0.5' is no whole number"),
        ({"qrels": [*QRELS, "q3 d1 1"]}, "test.tsv:5", "expected 3 values with tabs"),
        ({"qrels": [*QRELS, QRELS[1]]}, "test.tsv:5", "judged twice"),
        ({"qrels": QRELS[1:]}, "test.tsv:1", "expected the header"),
        ({"qrels": [QRELS[0], "q1\td1\t0"]}, "test.tsv", "no query has a relevant document"),
    ],
)
def test_each_fault_is_one_sentence_with_its_place(
    tmp_path: Path, change: dict[str, list[str]], where: str, words: str
) -> None:
    path = folder(tmp_path / "tiny", **change)
    with pytest.raises(DataError) as caught:
        read_beir(path)
    assert f"{where}: " in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_document_that_is_judged_irrelevant_may_be_absent(tmp_path: Path) -> None:
    assert read_beir(folder(tmp_path / "tiny", qrels=[*QRELS, "q1\td9\t0"])).qrels["q1"] == {"d1": 1, "d9": 0}


def test_another_split_and_what_is_offered_instead(tmp_path: Path) -> None:
    path = folder(tmp_path / "tiny")
    with pytest.raises(DataError, match="splits with qrels: test"):
        read_beir(path, "dev")
    path.joinpath("qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td2\t1\n")
    assert read_beir(path, "dev").queries == {"q3": "unjudged"}


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no corpus.jsonl \(or corpus.jsonl.gz\)"):
        read_beir(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_corpus_file(tmp_path / "corpus.jsonl")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
IDS = st.text(st.characters(exclude_characters="\t\r\n", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)


@settings(deadline=None)
@given(
    st.dictionaries(IDS, st.tuples(TEXTS, TEXTS), min_size=1, max_size=4),
    st.dictionaries(IDS, TEXTS.filter(str.strip), min_size=1, max_size=3),
    st.randoms(use_true_random=False),
)
def test_what_is_written_is_read_back(tmp_path_factory, documents, queries, random) -> None:  # type: ignore[no-untyped-def]
    corpus = tuple(Document(identity, text, title) for identity, (text, title) in documents.items())
    qrels = {query: {random.choice(corpus).id: random.randint(1, 3)} for query in queries}
    path = tmp_path_factory.mktemp("beir") / "written"
    written = RetrievalSet("written", "test", corpus, queries, qrels)
    write_beir(written, path)
    assert read_beir(path) == written
    assert json.loads(path.joinpath("corpus.jsonl").read_text().split("\n")[0])["_id"] == corpus[0].id


def test_an_id_that_qrels_cannot_carry_is_refused(tmp_path: Path) -> None:
    broken = RetrievalSet("x", "test", (Document("a\tb", "text"),), {"q": "?"}, {"q": {"a\tb": 1}})
    with pytest.raises(DataError, match="tab"):
        write_beir(broken, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_answers_of_every_split_are_read_without_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    queries = [{"_id": "q1", "text": "first"}, {"_id": "q2", "text": "second"}]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries), encoding="utf-8")
    head = "query-id\tcorpus-id\tscore\n"
    (tmp_path / "qrels" / "train.tsv").write_text(f"{head}q1\td1\t1\nq1\td2\t0\n", encoding="utf-8")
    (tmp_path / "qrels" / "test.tsv").write_text(f"{head}q2\td2\t2\n", encoding="utf-8")
    assert list(read_answers(tmp_path)) == [("second", "d2"), ("first", "d1")]
    (tmp_path / "qrels" / "dev.tsv").write_text(f"{head}q3\td2\t2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"dev\.tsv:2: query id 'q3' is not in queries\.jsonl"):
        list(read_answers(tmp_path))
    with pytest.raises(DataError, match=r"no queries\.jsonl"):
        list(read_answers(tmp_path / "qrels"))
