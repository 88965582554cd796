"""Dense and lexical search: exact, in trec_eval's order, in bounded blocks, and clear about bad input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from embedloom.data.dense import DenseRetriever, encode_documents, nearest
from embedloom.data.lexical import BM25, recognise, tokenise
from embedloom.data.topk import top_k
from embedloom.errors import DataError, ModelError
from embedloom.records import Document, Hit, Retriever
from fakes import HashEmbedder

TIED = arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.integers(0, 3))


@given(TIED, st.integers(1, 14))
def test_top_k_is_a_stable_sort_cut_off(scores: np.ndarray, k: int) -> None:
    np.testing.assert_array_equal(top_k(scores, k), np.argsort(-scores, axis=1, kind="stable")[:, :k])


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(2)), elements=st.integers(-1, 1)),
    arrays.arrays(np.float32, st.tuples(st.integers(1, 11), st.just(2)), elements=st.integers(-1, 1)),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_blocks_do_not_change_what_is_nearest(
    queries: np.ndarray, documents: np.ndarray, k: int, query_block: int, document_block: int
) -> None:
    scores, rows = nearest(queries, documents, k, query_block=query_block, document_block=document_block)
    everything = queries @ documents.T
    expected = np.argsort(-everything, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(everything, expected, axis=1))


def test_dense_search_finds_a_text_by_itself_and_orders_twins_by_id() -> None:
    documents = [Document("a", "same"), Document("c", "same"), Document("b", "other"), Document("d", "same")]
    embedder = HashEmbedder()
    retriever = DenseRetriever(embedder, documents)
    assert isinstance(retriever, Retriever)
    told: list[int] = []
    found = retriever.search(["same", "other", "same"], 3, progress=told.append)
    assert [hit.document_id for hit in found[0]] == ["d", "c", "a"]
    assert found[0][0].score == pytest.approx(1)
    assert found[1][0].document_id == "b"
    assert sum(told) == 3
    assert embedder.encoded == ["same", "other", "same", "other"]


def test_the_instruction_goes_before_queries_alone() -> None:
    embedder = HashEmbedder()
    DenseRetriever(embedder, [Document("a", "text", "title")], instruction="find: ").search(["query"], 1)
    assert embedder.encoded == ["title text", "find: query"]


class BrokenEmbedder(HashEmbedder):
    def __init__(self, vectors: np.ndarray) -> None:
        super().__init__("broken", dimension=2)
        self.vectors = vectors

    def encode_documents(self, texts: Sequence[str], *, progress: object = None) -> np.ndarray:
        return self.vectors


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (np.array([[1, 0], [np.nan, 0]]), "NaN or infinite numbers for the text 'second'"),
        (np.array([[0, 0], [1, 0]]), "length 0 for the text 'first'"),
        (np.array([[0, 3], [1, 0]]), "length 3 for the text 'first'"),
        (np.ones((1, 2)), r"shape \(1, 2\), expected \(2, 2\)"),
        (np.ones((2, 3)), r"shape \(2, 3\), expected \(2, 2\)"),
    ],
)
def test_vectors_that_are_no_unit_vectors_are_refused(vectors: np.ndarray, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        encode_documents(BrokenEmbedder(vectors), ["first", "second"])


def test_an_empty_corpus_is_refused() -> None:
    with pytest.raises(DataError, match="corpus is empty"):
        DenseRetriever(HashEmbedder(), [])
    with pytest.raises(DataError, match="corpus is empty"):
        BM25([])
    with pytest.raises(DataError, match="no document of the corpus has a word"):
        BM25([Document("a", "?!"), Document("b", "")])


ENGLISH = [
    Document("1", "The cats were sitting on the mat, and it was in the sun."),
    Document("2", "A dog is a friend of the family and of the house."),
    Document("3", "Running shoes are not for the swimming pool."),
]


def test_bm25_stems_and_drops_stop_words_in_english() -> None:
    retriever = BM25(ENGLISH)
    assert retriever.language == "english"
    assert isinstance(retriever, Retriever)
    assert [[hit.document_id for hit in hits] for hits in retriever.search(["a cat sits", "the run", "the"], 5)] == [
        ["1"],
        ["3"],
        [],
    ]


def test_bm25_gives_lucenes_score() -> None:
    documents = [Document("1", "apple pear"), Document("2", "apple apple plum"), Document("3", "kiwi")]
    hits = BM25(documents, language="none", k1=1.5, b=0.75).search(["apple"], 5)[0]
    inverse = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    expected = {
        "1": inverse * 1 / (1 + 1.5 * (0.25 + 0.75 * 2 / 2)),
        "2": inverse * 2 / (2 + 1.5 * (0.25 + 0.75 * 3 / 2)),
    }
    assert {hit.document_id: hit.score for hit in hits} == pytest.approx(expected, rel=1e-5)


def test_bm25_orders_equal_scores_by_id_and_counts_progress() -> None:
    told: list[int] = []
    documents = [Document(identity, "same words") for identity in ("b", "d", "a", "c")]
    found = BM25(documents).search(["words", "unknown"], 2, progress=told.append)
    assert [hit.document_id for hit in found[0]] == ["d", "c"]
    assert found[1] == []
    assert told == [1, 1]


def test_bm25_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert BM25(ENGLISH).search(["cat"], 1) == [[Hit("1", pytest.approx(0.4, abs=0.3))]]
    assert capfd.readouterr() == ("", "")


def test_scripts_without_spaces_are_searched_by_pairs_of_characters() -> None:
    documents = [Document("1", "我喜欢在北京吃烤鸭。"), Document("2", "上海的冬天很冷。"), Document("3", "東京タワー")]
    found = BM25(documents).search(["北京的烤鸭", "タワー"], 3)
    assert [hit.document_id for hit in found[0]] == ["1"]
    assert [hit.document_id for hit in found[1]] == ["3"]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't stop-me, 42 TIMES!", ["don", "t", "stop", "me", "42", "times"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("東京tower塔", ["東京", "tower", "塔"]),
        ("ภาษาไทย", ["ภา", "าษ", "ษา", "าไ", "ไท", "ทย"]),
        ("ＡＢＣ ①", ["abc", "1"]),
        ("", []),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert tokenise(text) == tokens


def test_a_language_is_named_or_recognised() -> None:
    german = "Der Hund ist der beste Freund des Menschen und er liegt in der Sonne, weil es dort warm ist."
    assert recognise([tokenise(german)]) == "german"
    assert recognise([tokenise("北京 東京")]) == "none"
    assert recognise([]) == "none"
    assert BM25([Document("1", "قرأت الكتاب")], language="arabic").search(["كتاب"], 1)[0][0].document_id == "1"
    with pytest.raises(DataError, match="no stemmer for 'klingon'"):
        BM25(ENGLISH, language="klingon")
