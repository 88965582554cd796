"""A corpus on disk: read by row and id, encoded and searched in blocks, exactly, and gone on with after a stop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from embedloom.data.document_file import DocumentFile
from embedloom.errors import DataError
from embedloom.records import Document
from embedloom.run import write_records
from embedloom.search.corpus_vectors import CorpusVectors, encode_corpus
from fakes import HashEmbedder

CORPUS = [Document(f"d{n}", f"text number {n}", "title" if n % 2 else "") for n in range(50)]


def unit(rows: int, dimension: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_documents_are_read_by_row_and_by_id(tmp_path: Path) -> None:
    write_records(tmp_path / "corpus.jsonl", CORPUS)
    with DocumentFile(tmp_path / "corpus.jsonl") as documents:
        assert len(documents) == 50
        assert list(documents) == CORPUS
        assert documents[7:9] == CORPUS[7:9]
        assert documents[-1] == CORPUS[-1]
        assert documents.documents(["d30", "d2", "d30"]) == [CORPUS[30], CORPUS[2], CORPUS[30]]
        with pytest.raises(DataError, match="no document with id 'x'"):
            documents.documents(["d1", "x"])


def test_an_id_twice_and_an_empty_corpus_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    write_records(path, [*CORPUS, CORPUS[3]])
    with pytest.raises(DataError, match=r"corpus\.jsonl: 1 documents have an id that came before"):
        DocumentFile(path)
    write_records(path, [])
    with pytest.raises(DataError, match="the corpus is empty"):
        DocumentFile(path)


class Counting:
    """An array that refuses to be read but in slices, and notes how many rows each takes."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.taken: list[int] = []

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice) -> np.ndarray:
        assert isinstance(rows, slice)
        self.taken.append(len(self.rows[rows]))
        return self.rows[rows]

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise AssertionError("the whole array was asked for")


def test_search_is_exact_and_reads_each_block_once() -> None:
    d_MD, q_QD = unit(50, 8), unit(11, 8, seed=1)
    counting = Counting(d_MD)
    found = CorpusVectors(counting, CORPUS, scored_at_once=16).nearest(q_QD, 7)
    assert counting.taken == [16, 16, 16, 2]
    everything = q_QD @ d_MD.T
    for hits, score_M in zip(found, everything, strict=True):
        order = np.argsort(-score_M, kind="stable")[:7]
        assert [hit.document_id for hit in hits] == [CORPUS[row].id for row in order]
        np.testing.assert_allclose([hit.score for hit in hits], score_M[order], atol=1e-6)


def test_only_the_ids_of_hits_are_read() -> None:
    asked: list[int] = []

    class Watched(list[Document]):
        def __getitem__(self, row):
            asked.append(row)
            return super().__getitem__(row)

    CorpusVectors(unit(50, 8), Watched(CORPUS)).nearest(unit(2, 8, seed=1), 3)
    assert len(asked) == len(set(asked)) <= 6


class Recorder(HashEmbedder):
    """Notes how many texts each call brings, and stops in the call with the number `stop`."""

    def __init__(self, stop: int = -1, **options: str) -> None:
        super().__init__(**options)
        self.calls: list[int] = []
        self.stop = stop

    def encode_documents(self, texts: Sequence[str], *, progress=None) -> np.ndarray:
        if len(self.calls) == self.stop:
            raise KeyboardInterrupt
        self.calls.append(len(texts))
        return super().encode_documents(texts, progress=progress)


def test_encoding_holds_a_block_and_goes_on_behind_what_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "vectors.f32"
    whole = Recorder()
    told: list[int] = []
    expected = encode_corpus(
        tmp_path / "whole.f32", CORPUS, whole, content="c", encoded_at_once=16, progress=told.append
    )
    assert (whole.calls, sum(told)) == ([16, 16, 16, 2], 50)
    with pytest.raises(KeyboardInterrupt):
        encode_corpus(path, CORPUS, Recorder(stop=2), content="c", encoded_at_once=16)
    with open(path, "ab") as file:
        file.write(b"half a vector")
    again = Recorder()
    told.clear()
    found = encode_corpus(path, CORPUS, again, content="c", encoded_at_once=16, progress=told.append)
    assert (again.calls, sum(told)) == ([16, 2], 50)
    assert path.read_bytes() == (tmp_path / "whole.f32").read_bytes()
    queries = unit(4, 32)
    assert found.nearest(queries, 5) == expected.nearest(queries, 5)
    finished = Recorder()
    encode_corpus(path, CORPUS, finished, content="c")
    assert finished.calls == []


@pytest.mark.parametrize("change", ["content", "model", "mark"])
def test_vectors_of_another_corpus_or_model_are_made_anew(tmp_path: Path, change: str) -> None:
    path = tmp_path / "vectors.f32"
    encode_corpus(path, CORPUS, Recorder(), content="c")
    if change == "mark":
        (tmp_path / "vectors.f32.json").write_text("[", encoding="utf-8")
    embedder = Recorder(fingerprint="f1" if change == "model" else "f0")
    encode_corpus(path, CORPUS, embedder, content="other" if change == "content" else "c")
    assert embedder.calls == [50]
