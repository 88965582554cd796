"""One evaluator a family: right figures on sets small enough to check by hand, and roles as documented."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from embedloom.data.beir import RetrievalSet
from embedloom.data.candidates import Candidates
from embedloom.data.labels import LabelledText
from embedloom.data.lexical import BM25
from embedloom.data.pairs import ScoredPair, TranslationPair
from embedloom.errors import DataError, MissingExtraError, ModelError
from embedloom.evals.bitext import evaluate_bitext
from embedloom.evals.classification import evaluate_classification
from embedloom.evals.clustering import evaluate_clustering
from embedloom.evals.instructions import DEFAULTS, INSTRUCTIONS, instruction_for
from embedloom.evals.reranking import evaluate_reranking
from embedloom.evals.result import SetResult, paired_difference
from embedloom.evals.retrieval import evaluate_retrieval, evaluate_retriever
from embedloom.evals.sts import evaluate_sts
from embedloom.records import Document
from fakes import HashEmbedder
from word_embedder import WordEmbedder

RETRIEVAL = RetrievalSet(
    name="xquad-en",
    split="test",
    corpus=tuple(Document(f"d{i}", text) for i, text in enumerate(["red apple", "green pear", "blue plum", "old car"])),
    queries={"q1": "a red apple", "q2": "the green pear", "q3": "blue plum old car"},
    qrels={"q1": {"d0": 1}, "q2": {"d1": 1}, "q3": {"d2": 1, "d3": 2}},
)
TOPICS = {"fruit": "apple pear plum fig", "tools": "saw hammer drill axe", "sky": "sun moon star cloud"}
LABELLED = tuple(
    LabelledText(f"{words.split()[i % 4]} {words.split()[(i + 1) % 4]} {i}", label)
    for label, words in TOPICS.items()
    for i in range(12)
)


def figures(result: SetResult) -> dict[str, float]:
    return {measure.name: measure.estimate.value for measure in result.measures}


def test_retrieval_measures_in_their_order_with_intervals() -> None:
    told: list[int] = []
    embedder = WordEmbedder()
    found = evaluate_retrieval(embedder, RETRIEVAL, progress=told.append)
    assert list(figures(found)) == ["ndcg@10", "recall@10", "recall@100", "mrr@10"]
    assert figures(found)["recall@10"] == figures(found)["mrr@10"] == 1
    assert 0.9 < found.main.estimate.value <= 1
    assert found.main.estimate.value == pytest.approx(found.items.mean())
    assert found.main.estimate.low <= found.main.estimate.value <= found.main.estimate.high
    assert (found.task, found.family, found.split, found.count) == ("xquad-en", "retrieval", "test", 3)
    assert embedder.asked == [("document", "", 4), ("query", found.instruction, 3)]
    assert sum(told) == 7


def test_retrieval_by_bm25_has_the_same_measures_and_no_instruction() -> None:
    found = evaluate_retriever(BM25(RETRIEVAL.corpus), RETRIEVAL)
    assert list(figures(found)) == ["ndcg@10", "recall@10", "recall@100", "mrr@10"]
    assert figures(found)["mrr@10"] == 1
    assert found.instruction == ""


def test_a_random_embedder_scores_low() -> None:
    corpus = tuple(Document(f"d{i}", f"text {i}") for i in range(500))
    queries = {f"q{i}": f"question {i}" for i in range(50)}
    chance = RetrievalSet("r", "test", corpus, queries, {f"q{i}": {f"d{i}": 1} for i in range(50)})
    assert evaluate_retrieval(HashEmbedder(), chance).main.estimate.value < 0.1


PAIRS = (
    ScoredPair("a cat", "a cat", 5),
    ScoredPair("a dog runs", "a dog sleeps", 3),
    ScoredPair("one", "two", 0),
    ScoredPair("a cat", "old sea", 0.5),
)


def test_sts_instructs_both_sides_so_that_equal_texts_have_cosine_one() -> None:
    embedder = WordEmbedder()
    found = evaluate_sts(embedder, PAIRS, task="stsbenchmark")
    assert found.items[0] == pytest.approx(1)
    assert found.main.name == "spearman"
    assert found.main.estimate.value > 0.7
    assert embedder.asked == [("query", "Retrieve semantically similar text.", 6)]


def test_sts_can_instruct_the_first_side_alone() -> None:
    embedder = WordEmbedder()
    found = evaluate_sts(embedder, PAIRS, task="stsbenchmark", instruct_both=False, instruction="Same?")
    assert embedder.asked == [("query", "Same?", 3), ("document", "", 4)]
    assert found.instruction == "Same?"


def test_a_query_that_is_a_document_need_not_find_itself() -> None:
    rows = RetrievalSet("t", "test", RETRIEVAL.corpus, {"d0": "red apple"}, {"d0": {"d0": 1, "d1": 1}})
    assert figures(evaluate_retrieval(WordEmbedder(), rows))["recall@100"] == 1
    found = evaluate_retrieval(WordEmbedder(), rows, skip_same_id=True)
    assert figures(found)["recall@100"] == 0.5


def test_bitext_counts_matches_both_ways() -> None:
    lines = ["red fox", "blue sky", "old car", "new day"]
    pairs = tuple(TranslationPair(line, line.upper()) for line in lines)
    embedder = WordEmbedder()
    found = evaluate_bitext(embedder, pairs, task="tatoeba-deu-eng")
    assert figures(found) == {"f1": 1, "accuracy": 1, "f1_reversed": 1, "accuracy_reversed": 1}
    assert embedder.asked == [("query", "Retrieve parallel sentences.", 4)] * 2
    # The third line now translates nothing, and the first is asked for twice.
    wrong = (*pairs[:2], TranslationPair("red fox", "OLD CAR"), pairs[3])
    values = figures(evaluate_bitext(WordEmbedder(), wrong, task="t"))
    assert values["accuracy"] == 0.75
    assert values["f1"] == pytest.approx((2 / 3 + 1 + 1) / 4)


def test_bitext_can_instruct_one_side_as_in_training() -> None:
    embedder = WordEmbedder()
    evaluate_bitext(embedder, (TranslationPair("a", "b"),), task="bucc", instruct_both=False)
    assert [role for role, _, _ in embedder.asked] == ["query", "document"]


def test_reranking_orders_each_query_by_itself() -> None:
    rows = (
        Candidates("red apple", ("a red apple",), ("old car", "blue sky")),
        Candidates("blue sky", ("dark night",), ("blue sky over me", "old car")),
    )
    values = figures(evaluate_reranking(WordEmbedder(), rows, task="hotpotqa-dev500"))
    assert list(values) == ["map", "mrr@10", "ndcg@10"]
    assert 0.6 < values["map"] < 0.8


def test_a_tie_is_no_merit_when_reranking() -> None:
    rows = (Candidates("red", ("same text",), ("same text",)),)
    assert figures(evaluate_reranking(WordEmbedder(), rows, task="r"))["map"] == 0.5


def test_classification_learns_labels_that_words_tell() -> None:
    told: list[int] = []
    found = evaluate_classification(WordEmbedder(), LABELLED, LABELLED[::2], task="sib200-eng", progress=told.append)
    assert list(figures(found)) == ["accuracy", "macro_f1"]
    assert min(figures(found).values()) > 0.9
    assert found.instruction.startswith("Given a sentence")
    assert sum(told) == len(LABELLED) + len(LABELLED[::2])


def test_classification_by_chance_is_near_chance() -> None:
    assert evaluate_classification(HashEmbedder(), LABELLED, LABELLED[::2], task="x", texts_per_label=1).count == 18
    random = evaluate_classification(
        HashEmbedder(), [*LABELLED], [LabelledText(row.text + "?", row.label) for row in LABELLED], task="x"
    )
    assert random.main.estimate.value < 0.6


def test_labels_that_cannot_be_learned_are_refused() -> None:
    one = [row for row in LABELLED if row.label == "fruit"]
    with pytest.raises(DataError, match="label 'sky' of the test texts does not occur"):
        evaluate_classification(WordEmbedder(), one, LABELLED, task="x")
    with pytest.raises(DataError, match="a second label does not occur"):
        evaluate_classification(WordEmbedder(), one, one, task="x")
    with pytest.raises(DataError, match="all texts have one label"):
        evaluate_clustering(WordEmbedder(), one, task="x")


def test_clustering_finds_topics_that_words_tell() -> None:
    told: list[int] = []
    found = evaluate_clustering(WordEmbedder(), LABELLED, task="x", sample=200, experiments=3, progress=told.append)
    assert figures(found)["v_measure"] > 0.5
    assert len(found.items) == 3
    assert sum(told) == len(LABELLED)
    assert figures(evaluate_clustering(HashEmbedder(), LABELLED, task="x", sample=200))["v_measure"] < 0.4


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"embedloom\[evals\]"):
        evaluate_classification(WordEmbedder(), LABELLED, LABELLED, task="x")
    with pytest.raises(MissingExtraError, match=r"embedloom\[evals\]"):
        evaluate_clustering(WordEmbedder(), LABELLED, task="x")


class NanEmbedder(WordEmbedder):
    name = "broken"

    def encode_queries(self, texts, instruction, *, progress=None):  # type: ignore[no-untyped-def]
        return super().encode_queries(texts, instruction) * np.float32("nan")


def test_nan_is_an_error_in_every_family() -> None:
    for run in (
        lambda: evaluate_retrieval(NanEmbedder(), RETRIEVAL),
        lambda: evaluate_sts(NanEmbedder(), PAIRS, task="x"),
        lambda: evaluate_bitext(NanEmbedder(), (TranslationPair("a", "b"),), task="x"),
        lambda: evaluate_reranking(NanEmbedder(), (Candidates("q", ("p",), ("n",)),), task="x"),
        lambda: evaluate_classification(NanEmbedder(), LABELLED, LABELLED, task="x"),
        lambda: evaluate_clustering(NanEmbedder(), LABELLED, task="x"),
    ):
        with pytest.raises(ModelError, match="broken returned a vector with NaN"):
            run()


def test_scores_carry_model_interval_and_instruction() -> None:
    found = evaluate_retrieval(WordEmbedder(), RETRIEVAL)
    scores = found.scores(model="words", fingerprint="w0")
    assert [score.metric for score in scores] == ["ndcg@10", "recall@10", "recall@100", "mrr@10"]
    first = scores[0]
    assert (first.task, first.model, first.fingerprint, first.count) == ("xquad-en", "words", "w0", 3)
    assert first.interval == found.main.estimate.interval
    assert first.instruction == found.instruction


def test_two_models_are_compared_item_by_item() -> None:
    good, bad = evaluate_retrieval(WordEmbedder(), RETRIEVAL), evaluate_retrieval(HashEmbedder(), RETRIEVAL)
    found = paired_difference(good, bad)
    assert found.value == pytest.approx(good.main.estimate.value - bad.main.estimate.value)
    assert found.low <= found.value <= found.high
    sts = evaluate_sts(WordEmbedder(), PAIRS, task="s")
    assert paired_difference(sts, sts).interval == (0, 0)
    with pytest.raises(DataError, match="can't be compared"):
        paired_difference(good, sts)


def test_instructions_come_from_the_table_the_family_or_the_caller() -> None:
    assert instruction_for("SciFact", "retrieval").startswith("Given a scientific claim")
    assert instruction_for("climate-fever", "retrieval").startswith("Given a claim about climate")
    assert instruction_for("sts17-en-en", "sts") == "Retrieve semantically similar text."
    assert instruction_for("my-own-set", "retrieval") == DEFAULTS["retrieval"]
    assert instruction_for("scifact", "retrieval", "Mine") == "Mine"
    assert instruction_for("scifact", "retrieval", "") == ""


def test_no_pattern_hides_another() -> None:
    for position, (pattern, instruction) in enumerate(INSTRUCTIONS):
        assert instruction_for(pattern.rstrip("*"), "retrieval") == instruction, f"row {position}"
