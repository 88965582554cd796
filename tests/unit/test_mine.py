"""Mined negatives: what ranks high and answers nothing; never a known positive, never what scores like the positive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedloom.data.dense import encode_documents, nearest
from embedloom.data.lexical import BM25
from embedloom.records import Document, Example, Hit
from embedloom.search.known import Known, KnownPositives, known_answers, same
from embedloom.search.mine import RowRetriever, mine
from embedloom.search.row_retrievers import DenseRows, LexicalRows
from word_embedder import WordEmbedder

CORPUS = [
    Document("a", "boats wait for wind"),
    Document("b", "boats wait for rain"),
    Document("c", "boats sleep at night"),
    Document("d", "bread is baked at night"),
    Document("e", "Boats, wait: for WIND!"),
    Document("f", "stone bridges over rivers"),
]


def texts_of(documents: Sequence[Document]):
    table = {document.id: document for document in documents}
    return lambda ids: [table[identity] for identity in ids]


def dense(documents: Sequence[Document], embedder: WordEmbedder | None = None) -> DenseRows:
    embedder = embedder or WordEmbedder()
    d_MD = encode_documents(embedder, [document.content for document in documents])

    def search(q_QD: np.ndarray, k: int) -> list[list[Hit]]:
        scores, rows = nearest(q_QD, d_MD, k)
        return [
            [Hit(documents[row].id, float(score)) for row, score in zip(own, values, strict=True)]
            for own, values in zip(rows, scores, strict=True)
        ]

    return DenseRows(embedder, search)


class Ranked:
    """A retriever with a fixed answer; positives that are no hit score `else_`."""

    def __init__(self, *hits: Hit, else_: float = 1.0) -> None:
        self.hits, self.else_ = list(hits), else_
        self.asked: list[tuple[str, str]] = []

    def search(self, rows: Sequence[Example], k: int, *, progress=None) -> list[list[Hit]]:
        if progress is not None:
            progress(len(rows))
        return [self.hits[:k] for _ in rows]

    def scores(self, pairs: Sequence[tuple[Example, str]]) -> list[float]:
        self.asked += [(row.query, text) for row, text in pairs]
        return [self.else_] * len(pairs)


ROW = Example("Find it", "what do boats wait for", ("boats wait for wind",))
HITS = [Hit("a", 1.0), Hit("e", 0.99), Hit("b", 0.96), Hit("c", 0.9), Hit("d", 0.5), Hit("f", 0.1)]


def negatives_of(row: Example = ROW, retriever: RowRetriever | None = None, **options: object) -> tuple[str, ...]:
    found = mine([row], retriever or Ranked(*HITS), texts_of(CORPUS), **{"negatives": 1, **options})
    return next(iter(found)).negatives


def test_the_best_that_is_no_answer_and_not_too_close_is_taken() -> None:
    counts: Counter[str] = Counter()
    assert negatives_of(counts=counts) == ("boats sleep at night",)
    assert counts == {"rows": 1, "mined": 1, "negatives": 1, "known positive": 2, "too close": 1}
    assert negatives_of(below=None) == ("boats wait for rain",)
    assert negatives_of(below=0.5, negatives=3) == ("bread is baked at night", "stone bridges over rivers")


def test_only_ranks_of_the_window_are_taken() -> None:
    assert negatives_of(first=5, negatives=9) == ("bread is baked at night", "stone bridges over rivers")
    assert negatives_of(last=4, negatives=9) == ("boats sleep at night",)
    assert negatives_of(first=5, last=5, negatives=9) == ("bread is baked at night",)


def test_a_positive_that_was_not_found_is_scored_and_the_worst_one_counts() -> None:
    retriever = Ranked(*HITS[2:], else_=0.2)
    assert negatives_of(retriever=retriever, negatives=9) == ("stone bridges over rivers",)
    assert retriever.asked == [(ROW.query, ROW.positives[0])]
    two = replace(ROW, positives=("boats wait for wind", "boats sleep at night"), id="")
    retriever = Ranked(*HITS)
    assert negatives_of(two, retriever, negatives=9) == ("bread is baked at night", "stone bridges over rivers")
    assert retriever.asked == []


def test_a_negative_cosine_keeps_its_distance_too() -> None:
    retriever = Ranked(Hit("b", -0.1), Hit("c", -0.104), Hit("d", -0.106), else_=-0.1)
    assert negatives_of(retriever=retriever, negatives=9) == ("bread is baked at night",)


def test_a_row_that_has_negatives_keeps_them_and_is_filled_up() -> None:
    row = replace(ROW, negatives=("own one", "Bread is baked, at night"), id="")
    counts: Counter[str] = Counter()
    assert negatives_of(row, negatives=3, counts=counts) == (*row.negatives, "boats sleep at night")
    assert negatives_of(row, negatives=2, counts=counts) == row.negatives
    assert negatives_of(row, negatives=9, counts=counts)[2:] == ("boats sleep at night", "stone bridges over rivers")
    assert (counts["mined"], counts["full"], counts["short"], counts["repeated"]) == (1, 1, 1, 1)


def test_a_row_for_which_nothing_is_left_passes_as_it_is() -> None:
    counts: Counter[str] = Counter()
    retriever = Ranked(*HITS, else_=0.01)
    row = replace(ROW, positives=("something else",), id="")
    assert list(mine([row], retriever, texts_of(CORPUS), counts=counts)) == [row]
    assert counts["none left"] == 1
    assert list(mine([row], Ranked(), texts_of(CORPUS))) == [row]


def test_ids_that_say_what_a_row_holds_are_made_anew_and_others_stay() -> None:
    mined = next(iter(mine([ROW], Ranked(*HITS), texts_of(CORPUS))))
    assert mined.id == replace(mined, id="").id != ROW.id
    named = replace(ROW, id="row-7")
    assert next(iter(mine([named], Ranked(*HITS), texts_of(CORPUS)))).id == "row-7"


def test_the_query_itself_and_empty_texts_are_no_negatives() -> None:
    corpus = [Document("a", "What do boats wait for?"), Document("b", " "), Document("c", "!!!"), Document("d", "!?")]
    hits = [Hit(document.id, 0.1) for document in corpus]
    row = replace(ROW, positives=("!!!",), id="")
    found = mine([row], Ranked(*hits), texts_of(corpus), negatives=9, below=None)
    assert next(iter(found)).negatives == ("!?",)


def test_answers_of_other_rows_and_files_are_known() -> None:
    other = Example("Another task", "What do BOATS wait for?", ("Boats sleep; at night",), passage_id="d")
    found = list(mine([ROW, other], Ranked(*HITS), texts_of(CORPUS), negatives=9, below=None))
    assert [row.negatives for row in found] == [("boats wait for rain", "stone bridges over rivers")] * 2
    known = [Known(ROW.query, document_id="b"), Known(ROW.query, text="stone  bridges over rivers."), Known("x", "y")]
    assert negatives_of(known=known, below=None, negatives=9) == ("boats sleep at night", "bread is baked at night")


def test_a_title_does_not_hide_an_answer() -> None:
    corpus = [Document("a", "boats wait for wind", "Boats"), Document("b", "boats wait for rain", "Boats")]
    found = mine([ROW], Ranked(Hit("a", 0.1), Hit("b", 0.1)), texts_of(corpus), negatives=2)
    assert next(iter(found)).negatives == ("Boats boats wait for rain",)


def test_drawn_negatives_are_a_function_of_seed_and_row() -> None:
    corpus = [Document(str(n), f"text {n}") for n in range(40)]
    hits = [Hit(document.id, 0.5) for document in corpus]
    rows = [replace(ROW, query=f"query {n}", id="") for n in range(5)]

    def draw(rows: Sequence[Example], **options: object) -> list[tuple[str, ...]]:
        found = mine(rows, Ranked(*hits), texts_of(corpus), negatives=2, drawn=True, **options)
        return [row.negatives for row in found]

    whole = draw(rows, seed=1)
    assert len(set(whole)) == 5
    assert draw(rows[::-1], seed=1, rows_at_once=2) == whole[::-1]
    assert draw(rows, seed=2) != whole
    assert set(sum(draw(rows, seed=1, first=3, last=6), ())) <= {"text 2", "text 3", "text 4", "text 5"}


def test_blocks_change_nothing_and_progress_counts_every_row() -> None:
    rows = [replace(ROW, query=f"query {n}", negatives=("own",) if n % 3 == 0 else (), id="") for n in range(7)]
    told: list[int] = []
    whole = list(mine(rows, Ranked(*HITS), texts_of(CORPUS)))
    assert list(mine(rows, Ranked(*HITS), texts_of(CORPUS), rows_at_once=2, progress=told.append)) == whole
    assert [row.query for row in whole] == [row.query for row in rows]
    assert sum(told) == 7
    with pytest.raises(AssertionError, match="read twice"):
        next(mine(iter(rows), Ranked(*HITS), texts_of(CORPUS)))


WORD = st.sampled_from(["boats", "wait", "wind", "rain", "bread", "night", "stone"])
TEXT = st.lists(WORD, min_size=1, max_size=4).map(" ".join)
VARIED = st.tuples(TEXT, st.sampled_from(["{}", "{}!", " {}", "{}."]), st.booleans()).map(
    lambda parts: parts[1].format(parts[0].upper() if parts[2] else parts[0])
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(VARIED, min_size=1, max_size=12),
    st.lists(st.tuples(VARIED, st.lists(VARIED, min_size=1, max_size=2)), min_size=1, max_size=5),
    st.lists(st.tuples(TEXT, TEXT), max_size=4),
    st.sampled_from(["bm25", "dense"]),
    st.sampled_from([0.7, 0.95, 1.0, None]),
    st.booleans(),
)
def test_no_known_positive_is_ever_taken(
    texts: list[str],
    asked: list[tuple[str, list[str]]],
    elsewhere: list[tuple[str, str]],
    kind: str,
    below: float | None,
    drawn: bool,
) -> None:
    corpus = [Document(str(number), text) for number, text in enumerate(texts)]
    rows = [Example("Find it", query, tuple(positives)) for query, positives in asked]
    retriever = LexicalRows(BM25(corpus)) if kind == "bm25" else dense(corpus)
    known = [Known(query, text) for query, text in elsewhere]
    found = list(
        mine(rows, retriever, texts_of(corpus), negatives=3, below=below, drawn=drawn, known=known, rows_at_once=2)
    )
    assert [row.query for row in found] == [row.query for row in rows]
    for row in found:
        answers = {same(text) for other in rows if same(other.query) == same(row.query) for text in other.positives}
        answers |= {same(text) for query, text in elsewhere if same(query) == same(row.query)}
        assert answers.isdisjoint(map(same, row.negatives))
        assert len({same(text) for text in row.negatives}) == len(row.negatives)
        assert {*row.negatives} <= {document.content for document in corpus}
        if below is not None and row.negatives:
            worst = min(retriever.scores([(row, text) for text in row.positives]))
            for score in retriever.scores([(row, text) for text in row.negatives]):
                assert score <= worst - (1 - below) * abs(worst) + 1e-5


def test_dense_rows_use_each_rows_instruction_and_score_what_they_did_not_find() -> None:
    embedder = WordEmbedder()
    retriever = dense(CORPUS, embedder)
    embedder.asked.clear()
    other = replace(ROW, instruction="Another", id="")
    hits = retriever.search([ROW, other, ROW], 2)
    assert embedder.asked == [("query", "Find it", 1), ("query", "Another", 1)]
    assert [hit.document_id for hit in hits[0]] == ["a", "b"]
    embedder.asked.clear()
    scores = retriever.scores([(ROW, "boats wait for wind"), (other, "stone")])
    assert embedder.asked == [("document", "", 2)], "the queries were encoded by the search before"
    assert scores[0] == pytest.approx(hits[0][0].score, abs=1e-6)
    assert isinstance(retriever, RowRetriever)
    assert isinstance(LexicalRows(BM25(CORPUS)), RowRetriever)
    assert retriever.search([], 3) == []
    assert retriever.scores([]) == []


def test_dense_mining_is_brute_force_in_numpy() -> None:
    generator = np.random.default_rng(0)
    words = ["boats", "wait", "wind", "rain", "bread", "night", "stone", "rivers", "letters", "fire"]
    corpus = [Document(str(n), " ".join(generator.choice(words, 4, replace=False))) for n in range(60)]
    rows = [
        Example("Find it", " ".join(generator.choice(words, 2, replace=False)), (corpus[n].text,)) for n in range(20)
    ]
    embedder = WordEmbedder()
    d_MD = embedder.encode_documents([document.text for document in corpus])
    found = mine(rows, dense(corpus), texts_of(corpus), negatives=4, first=2, last=25, below=0.9, rows_at_once=7)
    everything = KnownPositives(known_answers(rows))
    for row, mined in zip(rows, found, strict=True):
        score_M = d_MD @ embedder.encode_queries([row.query], row.instruction)[0]
        limit = 0.9 * score_M[[document.text for document in corpus].index(row.positives[0])]
        expected: list[str] = []
        for place in np.argsort(-score_M, kind="stable")[1:25]:
            document = corpus[place]
            fresh = document.text not in (*row.positives, row.query, *expected)
            if fresh and score_M[place] <= limit and not everything.answers(row.query, document) and len(expected) < 4:
                expected.append(document.text)
        assert [same(text) for text in mined.negatives] == [same(text) for text in expected]


def test_bm25_scores_a_text_as_it_scores_the_document() -> None:
    retriever = BM25(CORPUS)
    queries = ["boats at night", "wait wait for wind", "bridges", "nothing here"]
    for query, hits in zip(queries, retriever.search(queries, 9), strict=True):
        scores = retriever.scores((query, document.text) for document in CORPUS)
        expected = {hit.document_id: hit.score for hit in hits}
        for document, score in zip(CORPUS, scores, strict=True):
            assert score == pytest.approx(expected.get(document.id, 0.0), rel=1e-5)
    assert retriever.scores([("boats", "a new text about boats")])[0] > 0
    assert retriever.scores([("unknown", "unknown words")]) == [0]


def test_known_positives_are_none_at_first() -> None:
    assert len(KnownPositives([])) == 0
    assert not KnownPositives([]).answers("a", Document("b", "c"))
